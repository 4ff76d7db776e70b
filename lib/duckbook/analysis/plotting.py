"""Style of all charts in the notebooks.

A title states the finding, axes have units, and the same thing always has the same colour. The hues are the
colour-blind safe palette of Okabe and Ito (https://jfly.uni-koeln.de/color/). The background is transparent: every
colour has a contrast of 3:1 or more on a white page and on JupyterLab's dark page (#111111), text has 4.3:1 on both
(4.34:1 is the maximum for a single colour). Lines are labelled at their ends instead of in a legend, and bars of
several series have patterns, so that charts read in black and white.
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
"""Colours of text, and of lines without data."""

HEAT = ("#9CC4E4", "#007FC5", "#08306B")
"""Colours of a heat map from low to high: `heat` returns the colour map, `ink_on` the text colour for a cell."""

PATTERNS = ("", "///", "...", "xxx", "\\\\\\", "+++")
"""Hatch patterns of grouped or stacked bars, in the order of their series."""

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": EDGE,
    "axes.facecolor": "none",
    # No factor such as 1e6 in a corner.
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
    # Two dollar amounts in one text are not a formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
}

CHARACTERS_PER_INCH = 10.8
"""Measured for titles with the usual number of digits and per cent signs."""


def chart(
    title: str,
    *,
    x: str = "",
    y: str = "",
    size: tuple[float, float] = (8, 3.2),
    columns: int = 1,
    share_y: bool = False,
) -> Any:
    """Create an empty chart in this style.

    Parameters
    ----------
    title
        The finding, as a sentence.
    x, y
        Labels of the axes, with their units.
    size
        Width and height in inches.
    columns
        Number of charts side by side, under one title.
    share_y
        Whether charts side by side share the y axis.

    Returns
    -------
    Axes or array of Axes
        One, or `columns` axes.
    """
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(1, columns, figsize=size, sharey=share_y)
    for axis in [axes] if columns == 1 else axes:
        axis.set(xlabel=x, ylabel=y)
    # Starts above the tick labels and is wrapped, so that no title widens its chart.
    figure.suptitle(fill(title, int(CHARACTERS_PER_INCH * size[0])), x=0.01, ha="left", fontsize=11, fontweight="bold")
    return axes


def colours(names: Iterable[str]) -> dict[str, str]:
    """Assign a colour to each name, in alphabetical order, so that it does not depend on the order of rows."""
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(sorted(set(names)))}


def money(axis: Any) -> None:
    """Format the ticks of an axis as dollars: $0, $250k, $1.2M."""
    axis.set_major_formatter(lambda value, _position: dollars(value))


def months(axis: Any) -> None:
    """Format the ticks of a date axis as years and months, three to eight of them."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=8)
    axis.set_major_locator(locator)
    axis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def percent(axis: Any) -> None:
    """Format the ticks of an axis of shares as per cent."""
    axis.set_major_formatter(lambda value, _position: _minus(f"{100 * value:.1f}".removesuffix(".0") + "%"))


def counts(axis: Any) -> None:
    """Format the ticks of an axis as whole numbers with thousands separators, without ticks in between."""
    from matplotlib.ticker import MaxNLocator

    if isinstance(axis.get_major_locator(), MaxNLocator):
        axis.get_major_locator().set_params(integer=True)
    axis.set_major_formatter(lambda value, _position: _minus(f"{value:,.0f}"))


def dollars(value: float) -> str:
    """Format an amount: $4.20, $950, −$12.5k, $1.2M."""
    size = abs(value)
    # A unit is used if the rounded number before its letter is at least 1.
    unit, letter = next(((u, c) for u, c in ((1e9, "B"), (1e6, "M"), (1e3, "k")) if size >= u - u / 2000), (1, ""))
    number = f"{size / unit:.1f}".removesuffix(".0") if letter else f"{size:.2f}" if size < 9.995 else f"{size:.0f}"
    return f"{'−' if value < 0 else ''}${number.removesuffix('.00')}{letter}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def heat() -> Any:
    """Colour map from low to high, visible on light and dark pages."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("heat", HEAT)


def ink_on(colour: Any) -> str:
    """Black or white for text on a colour, whichever has more contrast."""
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    return "white" if sum(map(float.__mul__, (0.2126, 0.7152, 0.0722), linear)) < 0.179 else "black"


def label_bars(axes: Axes, texts: Iterable[str]) -> None:
    """Write a label at the end of each bar of the newest group."""
    from matplotlib.container import BarContainer

    bars = [group for group in axes.containers if isinstance(group, BarContainer)]
    axes.bar_label(bars[-1], labels=list(texts), padding=3, fontsize=8)


def label_line(axes: Axes, text: str) -> None:
    """Write a label at the end of the newest line instead of a legend."""
    import numpy as np

    line = axes.lines[-1]
    line.set_label(" ".join(text.split()))
    x, y = np.asarray(line.get_xdata())[-1], np.asarray(line.get_ydata())[-1]
    axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", va="center", fontweight="bold")


def show() -> None:
    """Show the newest chart below the cell; without data show its title as a sentence.

    The chart's description is the alternative text in exported pages, and the plain text of the output, which nbval
    compares.
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
        from duckbook.analysis.exploration import show_finding

        show_finding(" ".join(figure.get_suptitle().split()))
        plt.close(figure)
        return
    for axes in figure.axes:
        _wrap_title(axes)
        _set_bar_patterns(axes)
        for axis in (axes.xaxis, axes.yaxis):
            _format_log_ticks(axis)
    with _retina_without_cropping(shell):
        data, metadata = shell.display_formatter.format(figure)
    description = describe(figure)
    metadata["image/png"] = metadata.get("image/png", {}) | {"alt": description}
    display(data | {"text/plain": description}, metadata=metadata, raw=True)
    plt.close(figure)


def _has_data(axes: Axes) -> bool:
    """Whether a chart shows more than axes and reference lines; bars of zero size and empty collections are no data."""
    import numpy as np
    from matplotlib.container import BarContainer

    bars = [bar for group in axes.containers if isinstance(group, BarContainer) for bar in group]
    others = [patch for patch in axes.patches if patch not in bars]
    in_data = [line for line in axes.lines if all(line.get_transform().contains_branch_seperately(axes.transData))]
    shapes = [group.get_paths() for group in axes.collections if np.size(group.get_offsets())]
    return bool(
        any(np.nan_to_num(bar.get_width() * bar.get_height()) for bar in bars)
        or others
        or any(np.isfinite(line.get_xydata()).all(axis=1).any() for line in in_data)
        or any(np.size(path.vertices) for paths in shapes for path in paths)
        or axes.images
    )


def _wrap_title(axes: Axes) -> None:
    """Wrap the title of one of several charts to the chart's width."""
    figure: Any = axes.figure
    inches = figure.get_size_inches()[0] * axes.get_position().width
    if title := axes.get_title():
        axes.set_title(fill(" ".join(title.split()), int(CHARACTERS_PER_INCH * inches)))


def _set_bar_patterns(axes: Axes) -> None:
    """Give the bars of each series a pattern, in the legend too, so that they differ by more than their colour."""
    from matplotlib.container import BarContainer
    from matplotlib.patches import Patch

    groups = [group for group in axes.containers if isinstance(group, BarContainer)]
    series = [group for group in groups if not str(group.get_label()).startswith("_")]
    if len(series) < 2:
        return
    patterns = {group.get_label(): PATTERNS[index % len(PATTERNS)] for index, group in enumerate(series)}
    for group in series:
        for bar in group:
            bar.set_hatch(patterns[group.get_label()])
    if legend := axes.get_legend():
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            if isinstance(handle, Patch) and text.get_text() in patterns:
                handle.set_hatch(patterns[text.get_text()])


def _format_log_ticks(axis: Any) -> None:
    """Format the ticks of a logarithmic axis as numbers, such as 1,000, instead of powers of ten."""
    from decimal import Decimal

    from matplotlib.ticker import LogFormatter, NullFormatter

    if isinstance(axis.get_major_formatter(), LogFormatter):
        low, high = sorted(axis.get_view_interval())
        axis.set_major_formatter(lambda value, _position: f"{Decimal(f'{value:.3g}'):,f}")
        # Within a decade the major ticks are too few.
        axis.set_minor_formatter(axis.get_major_formatter() if high < 10 * low else NullFormatter())


@contextmanager
def _retina_without_cropping(shell: Any) -> Iterator[None]:
    """Render figures at double resolution and without a tight bounding box, which takes a third of the time.

    The layout leaves nothing outside the figure.
    """
    from matplotlib_inline.config import InlineBackend

    inline: Any = InlineBackend.instance(parent=shell)
    before = inline.print_figure_kwargs
    inline.figure_formats = {"retina"}
    inline.print_figure_kwargs = before | {"bbox_inches": None}
    try:
        yield
    finally:
        inline.print_figure_kwargs = before
