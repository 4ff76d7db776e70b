"""One style for every chart of the notebooks.

A title states the finding, axes carry units, colours are those of Okabe and Ito, which colour-blind people tell apart
(https://jfly.uni-koeln.de/color/), and the same thing has the same colour everywhere. Lines are labelled at their ends
rather than in a legend. Charts read in black and white, and on a light or a dark page, because they bring their own
white ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#7A7A7A",
)
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY)

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9AA5B1",
    "axes.grid": True,
    "axes.labelcolor": "#52606D",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": "#E4E7EB",
    # Two sums in dollars in one text are no formula.
    "text.parse_math": False,
    "xtick.color": "#52606D",
    "ytick.color": "#52606D",
    "ytick.left": False,
}


CHARACTERS = 10.8
"""How many characters of a title go into an inch, with as many figures and per cent signs as a finding has."""


def chart(
    title: str,
    *,
    x: str = "",
    y: str = "",
    size: tuple[float, float] = (8, 3.2),
    columns: int = 1,
    share_y: bool = False,
) -> Any:
    """An empty chart in our style.

    Parameters
    ----------
    title
        The finding, as a sentence.
    x, y
        Labels of the axes, with their units.
    size
        Width and height in inches.
    columns
        Number of charts side by side; the title stands over all.
    share_y
        Whether charts side by side have one scale.

    Returns
    -------
    Axes or array of Axes
        One, or `columns` of them.
    """
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(1, columns, figsize=size, sharey=share_y)
    for axis in [axes] if columns == 1 else axes:
        axis.set(xlabel=x, ylabel=y)
    # Over the names on the left too, and in as many lines as it needs, so that no finding widens its picture.
    figure.suptitle(fill(title, int(CHARACTERS * size[0])), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return axes


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, by the alphabet, so that it does not depend on the order of rows."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(sorted(set(names)))}


def money(axis: Any) -> None:
    """Write the ticks of an x or y axis as dollars: $0, $250k, $1.2M."""
    axis.set_major_formatter(lambda value, _position: dollars(value))


def months(axis: Any) -> None:
    """Write the ticks of a date axis as years and months, as many as there is room for."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)
    axis.set_major_locator(locator)
    axis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def percent(axis: Any) -> None:
    """Write the ticks of an x or y axis, which are shares, as per cent."""
    axis.set_major_formatter(lambda value, _position: f"{100 * value:.0f} %")


def counts(axis: Any) -> None:
    """Write the ticks of an x or y axis with thousands separators, and none between whole numbers."""
    from matplotlib.ticker import MaxNLocator

    if isinstance(axis.get_major_locator(), MaxNLocator):
        axis.get_major_locator().set_params(integer=True)
    axis.set_major_formatter(lambda value, _position: f"{value:,.0f}")


def dollars(value: float) -> str:
    """An amount as people write it: $950, $12.5k, $1.2M."""
    size, letter = next(((s, c) for s, c in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if abs(value) >= s), (1, ""))
    number = f"{value / size:.1f}" if letter else f"{value:,.0f}"
    return f"${number.removesuffix('.0')}{letter}"


def label_bars(axes: Axes, texts: Iterable[str]) -> None:
    """Write a text at the end of each bar of the newest group."""
    axes.bar_label(axes.containers[-1], labels=list(texts), padding=3, fontsize=8, color="#52606D")


def label_line(axes: Axes, text: str) -> None:
    """Write a text at the end of the newest line, in its colour, instead of a legend."""
    line = axes.lines[-1]
    line.set_label(" ".join(text.split()))
    x, y = line.get_xdata()[-1], line.get_ydata()[-1]
    axes.annotate(
        text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", color=line.get_color(), fontweight="bold"
    )


def show() -> None:
    """Show the newest chart, and nothing else below the cell.

    Where pictures are not seen its words stand: as the alternative text in the pages and in what is exported of the
    notebook, and as the plain text of the output, which nbval compares.
    """
    import matplotlib.pyplot as plt
    from IPython import get_ipython

    if (shell := get_ipython()) is None:
        plt.show()
        return

    from IPython.display import display

    from duckbook.alternative import describe

    figure = plt.gcf()
    with _as_large_as_its_figure(shell):
        data, metadata = shell.display_formatter.format(figure)
    words = describe(figure)
    metadata["image/png"] = metadata.get("image/png", {}) | {"alt": words}
    display(data | {"text/plain": words}, metadata=metadata, raw=True)
    plt.close(figure)


@contextmanager
def _as_large_as_its_figure(shell: Any) -> Iterator[None]:
    """Print pictures whole: the layout leaves nothing outside, and to look for it takes a third of a picture's time."""
    from matplotlib_inline.config import InlineBackend

    inline = InlineBackend.instance(parent=shell)
    before = inline.print_figure_kwargs
    inline.print_figure_kwargs = before | {"bbox_inches": None}
    try:
        yield
    finally:
        inline.print_figure_kwargs = before
