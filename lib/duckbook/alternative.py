"""The alternative text of a chart, read from what is drawn: for who hears a page instead of seeing it.

It says of what kind the chart is, what it finds, what its axes and lines are, and the figures that are written into it.
All others stand in the table beside the chart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 16
"""How many figures of one chart are read out; a heat map or a map of tiles has its table for that."""


def describe(figure: Figure) -> str:
    """What a figure shows, in one paragraph.

    Returns
    -------
    str
        Such as "Bar chart: Electronics brings 17% of revenue. Across: revenue, USD. Electronics 17.5%, Beauty 4.5%."
    """
    axes = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    titles = [figure.get_suptitle(), *(one.get_title(loc="left") or one.get_title() for one in axes)]
    found = ". ".join(_line(title) for title in titles if title)
    kinds = dict.fromkeys(kind for one in axes for kind in _kinds(one))
    kind = " and ".join(kinds).capitalize() or "Picture"
    charts = f"{kind} chart" if len(axes) == 1 else f"{len(axes)} charts side by side, of {kind.lower()}s"
    said = [f"{charts}: {found}" if found else charts]
    for one in axes:
        said += _axes(one)
    return " ".join(f"{part.rstrip('.')}." for part in said)


def _kinds(axes: Axes) -> Iterator[str]:
    from matplotlib.container import BarContainer, ErrorbarContainer

    containers = {type(container) for container in axes.containers}
    if axes.images:
        yield "heat map"
    if BarContainer in containers:
        yield "bar"
    if ErrorbarContainer in containers:
        yield "interval"
    elif any(len(line.get_xdata()) > 2 for line in axes.lines):
        yield "line"
    if axes.collections and not containers and not axes.lines:
        yield "point"
    if axes.patches and not containers:
        yield "tile"


def _axes(axes: Axes) -> Iterator[str]:
    """The sentences on one chart: its axes, its series by their names, and the figures written into it."""
    for where, label in (("Across", axes.get_xlabel()), ("Upwards", axes.get_ylabel())):
        if label:
            yield f"{where}: {_line(label)}"
    names = [_line(text) for text in axes.get_legend_handles_labels()[1]]
    if names:
        yield f"Series: {', '.join(names)}"
    written = [text for text in _figures(axes) if text not in names]
    if 0 < len(written) <= MOST:
        yield ", ".join(written)


def _figures(axes: Axes) -> list[str]:
    """The texts that stand in a chart; the label of a bar after the name of its bar, in the order of reading."""
    from matplotlib.container import BarContainer

    texts = [text for text in axes.texts if text.get_text().strip()]
    bars = [one for one in axes.containers if isinstance(one, BarContainer)]
    if len(bars) == 1 and len(texts) >= len(bars[0]):
        upright = bars[0].orientation == "vertical"
        ticks = axes.get_xticklabels() if upright else axes.get_yticklabels()
        names = [_line(tick.get_text()) for tick in ticks]
        if len(names) == len(bars[0]):
            labels = [_line(text.get_text()) for text in texts]
            read = [f"{name} {label}" for name, label in zip(names, labels, strict=False)]
            return [*(read if upright else reversed(read)), *labels[len(names) :]]
    return [_line(text.get_text()) for text in texts]


def _line(text: str) -> str:
    return " ".join(text.split())
