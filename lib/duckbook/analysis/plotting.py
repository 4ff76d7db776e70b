"""One style for every chart of the notebooks.

A title states the finding, axes carry units, and the same thing has the same colour everywhere. The hues are those of
Okabe and Ito, which colour-blind people tell apart (https://jfly.uni-koeln.de/color/). Charts have no ground of their
own: every colour stands out against a white page by 3:1 or more and against JupyterLab's dark one (#111111) as well.
Text has 4.3:1 on both, where 4.34:1 is the most that one colour can have. Lines are labelled at their ends rather than
in a legend, and bars of several series have patterns, so that charts read in black and white.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = (
    "#007FC5",
    "#C48700",
    "#00986E",
    "#C574A1",
    "#4A9CCA",
    "#C75700",
    "#9F9728",
    "#797979",
)
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY)

INK, EDGE = "#6E7A89", "#8C96A1"
"""Of texts, and of lines that carry no data."""

HEAT = ("#9CC4E4", "#007FC5", "#08306B")
"""Colours of a heat map from little to much: `heat` makes a colour map of them, `ink_on` picks the colour of a text."""

PATTERNS = ("", "///", "...", "xxx", "\\\\\\", "+++")
"""Of bars whose series stand beside or on each other, in the order of their labels."""

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": EDGE,
    "axes.facecolor": "none",
    # No factor such as 1e6 in a corner, whatever the numbers.
    "axes.formatter.limits": (-9, 15),
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.alpha": 0.3,
    "grid.color": EDGE,
    "hatch.color": "white",
    "hatch.linewidth": 0.6,
    "savefig.facecolor": "none",
    "text.color": INK,
    # Two sums in dollars in one text are no formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
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
    axis.set_major_formatter(lambda value, _position: _minus(f"{100 * value:.1f}".removesuffix(".0") + "%"))


def counts(axis: Any) -> None:
    """Write the ticks of an x or y axis with thousands separators, and none between whole numbers."""
    from matplotlib.ticker import MaxNLocator

    if isinstance(axis.get_major_locator(), MaxNLocator):
        axis.get_major_locator().set_params(integer=True)
    axis.set_major_formatter(lambda value, _position: _minus(f"{value:,.0f}"))


def dollars(value: float) -> str:
    """An amount as people write it: $4.20, $950, −$12.5k, $1.2M."""
    size = abs(value)
    # From where on the number before the letter is 1 or more once it is rounded.
    unit, letter = next(((u, c) for u, c in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if size >= u - u / 2000), (1, ""))
    number = f"{size / unit:.1f}".removesuffix(".0") if letter else f"{size:.2f}" if size < 9.995 else f"{size:.0f}"
    return f"{'−' if value < 0 else ''}${number.removesuffix('.00')}{letter}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def heat() -> Any:
    """A colour map from little to much, which is seen on a light and on a dark page."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", HEAT)


def ink_on(colour: Any) -> str:
    """Black or white, for a text on a colour: whichever stands out more."""
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return "white" if sum(map(float.__mul__, (0.2126, 0.7152, 0.0722), linear)) < 0.179 else "black"


def label_bars(axes: Axes, texts: Iterable[str]) -> None:
    """Write a text at the end of each bar of the newest group."""
    axes.bar_label(axes.containers[-1], labels=list(texts), padding=3, fontsize=8)


def label_line(axes: Axes, text: str) -> None:
    """Write a text at the end of the newest line instead of a legend."""
    line = axes.lines[-1]
    line.set_label(" ".join(text.split()))
    x, y = line.get_xdata()[-1], line.get_ydata()[-1]
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontweight="bold")


def show() -> None:
    """Show the newest chart, and nothing else below the cell; of one without data its title alone, as a sentence.

    Where pictures are not seen its words stand: as the alternative text in the pages and in what is exported of the
    notebook, and as the plain text of the output, which nbval compares.
    """
    import matplotlib.pyplot as plt
    from IPython import get_ipython

    if (shell := get_ipython()) is None:
        plt.show()
        return

    from IPython.display import display

    from duckbook.analysis.alt_text import describe

    figure = plt.gcf()
    if not any(map(_has_data, figure.axes)):
        # A chart of nothing says nothing but its title.
        from duckbook.analysis.exploration import tell

        tell(" ".join(figure.get_suptitle().split()))
        plt.close(figure)
        return
    for axes in figure.axes:
        _wrap_title(axes)
        _tell_bars_apart(axes)
        for axis in (axes.xaxis, axes.yaxis):
            _write_logarithms_out(axis)
    with _sharp_and_as_large_as_its_figure(shell):
        data, metadata = shell.display_formatter.format(figure)
    words = describe(figure)
    metadata["image/png"] = metadata.get("image/png", {}) | {"alt": words}
    display(data | {"text/plain": words}, metadata=metadata, raw=True)
    plt.close(figure)


def _has_data(axes: Axes) -> bool:
    """Whether a chart shows anything but its axes and lines of reference: bars of nothing, and no point, are none."""
    import numpy as np
    from matplotlib.container import BarContainer

    bars = [bar for one in axes.containers if isinstance(one, BarContainer) for bar in one]
    others = [patch for patch in axes.patches if patch not in bars]
    in_data = [line for line in axes.lines if all(line.get_transform().contains_branch_seperately(axes.transData))]
    shapes = [group.get_paths() for group in axes.collections if len(group.get_offsets())]
    return bool(
        any(np.nan_to_num(bar.get_width() * bar.get_height()) for bar in bars)
        or others
        or any(np.isfinite(line.get_xydata()).all(axis=1).any() for line in in_data)
        or any(len(path.vertices) for paths in shapes for path in paths)
        or axes.images
    )


def _wrap_title(axes: Axes) -> None:
    """Break the title of a chart beside others into lines as wide as it is."""
    inches = axes.figure.get_size_inches()[0] * axes.get_position().width
    if title := axes.get_title():
        axes.set_title(fill(" ".join(title.split()), int(CHARACTERS * inches)))


def _tell_bars_apart(axes: Axes) -> None:
    """Give the bars of each series a pattern, in the legend too, so that they differ by more than their colour."""
    from matplotlib.container import BarContainer

    series = [one for one in axes.containers if isinstance(one, BarContainer) and not one.get_label().startswith("_")]
    if len(series) < 2:
        return
    patterns = {one.get_label(): PATTERNS[place % len(PATTERNS)] for place, one in enumerate(series)}
    for one in series:
        for bar in one:
            bar.set_hatch(patterns[one.get_label()])
    if legend := axes.get_legend():
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if text.get_text() in patterns:
                handle.set_hatch(patterns[text.get_text()])


def _write_logarithms_out(axis: Any) -> None:
    """Write the ticks of a logarithmic axis as numbers: 1,000, and no power of ten."""
    from decimal import Decimal

    from matplotlib.ticker import LogFormatter, NullFormatter

    if isinstance(axis.get_major_formatter(), LogFormatter):
        low, high = sorted(axis.get_view_interval())
        axis.set_major_formatter(lambda value, _position: f"{Decimal(f'{value:.3g}'):,f}")
        # Within a decade there are too few ticks without those between the powers.
        axis.set_minor_formatter(axis.get_major_formatter() if high < 10 * low else NullFormatter())


@contextmanager
def _sharp_and_as_large_as_its_figure(shell: Any) -> Iterator[None]:
    """Print pictures at twice their size in pixels, and whole.

    The layout leaves nothing outside, and to look for it takes a third of a picture's time.
    """
    from matplotlib_inline.config import InlineBackend

    inline = InlineBackend.instance(parent=shell)
    before = inline.print_figure_kwargs
    inline.figure_formats = {"retina"}
    inline.print_figure_kwargs = before | {"bbox_inches": None}
    try:
        yield
    finally:
        inline.print_figure_kwargs = before
