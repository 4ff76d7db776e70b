"""The alternative text of a chart, read from what is drawn: for whoever hears a page instead of seeing it.

It says of what kind the chart is, what it finds, what its axes and lines are, and the figures that are written into it.
All others stand in the table beside the chart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 20
"""How many figures of one chart are read out; a heat map or a map of tiles has its table for that."""


def describe(figure: Figure) -> str:
    """What a figure shows, in one paragraph.

    Returns
    -------
    str
        Such as "Bar chart: Books bring 17% of revenue. Across: revenue, USD. Books 17.5%; Shoes 4.5%."
    """
    axes = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    titles = [figure.get_suptitle(), *(one.get_title() for one in axes)]
    kinds = " and ".join(dict.fromkeys(kind for one in axes for kind in _kinds(one))) or "diagram"
    said = [": ".join([kinds.capitalize(), *(_line(title) for title in titles if title)])]
    said += [sentence for one in axes for sentence in _sentences(one)]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in said)


def _kinds(axes: Axes) -> Iterator[str]:
    from matplotlib.container import BarContainer, ErrorbarContainer

    containers = {type(container) for container in axes.containers}
    if axes.images:
        yield "heat map"
    if BarContainer in containers:
        yield "bar chart"
    if ErrorbarContainer in containers:
        yield "chart of intervals"
    elif any(len(line.get_xdata()) > 2 for line in axes.lines):
        yield "line chart"
    if axes.collections and not containers and not axes.lines:
        yield "chart of points"
    if axes.patches and not containers:
        yield "map of tiles"


def _sentences(axes: Axes) -> Iterator[str]:
    """On one chart: its axes, its series by their names, and the figures written into it."""
    for where, label in (("Across", axes.get_xlabel()), ("Upwards", axes.get_ylabel())):
        if label:
            yield f"{where}: {_line(label)}"
    series = [_line(text) for text in axes.get_legend_handles_labels()[1]]
    written = [_line(text.get_text()) for text in axes.texts if text.get_text().strip()]
    bars = _labelled_bars(axes, len(written))
    if bars is None:
        written = [text for text in written if text not in series]
        if series:
            yield f"Series: {', '.join(series)}"
        if 0 < len(written) <= MOST:
            yield "; ".join(_named(axes, written))
        return
    for place, (bar, names) in enumerate(bars):
        labels, written = written[: len(names)], written[len(names) :]
        of = f"{series[place]}: " if len(bars) > 1 and len(series) == len(bars) else ""
        is_upwards = bar.orientation == "horizontal" and not axes.yaxis_inverted()
        yield of + "; ".join(_in_order(bar, names, labels, is_upwards=is_upwards))
    if written:
        yield "; ".join(written)


def _labelled_bars(axes: Axes, texts: int) -> list[tuple[Any, list[str]]] | None:
    """Each group of bars with the names of its bars, where each has a name and a label that was written after it."""
    from matplotlib.container import BarContainer

    found = []
    for bar in (one for one in axes.containers if isinstance(one, BarContainer)):
        is_upright = bar.orientation == "vertical"
        middle = [
            box.x0 + box.width / 2 if is_upright else box.y0 + box.height / 2
            for box in (patch.get_bbox() for patch in bar)
        ]
        axis = axes.xaxis if is_upright else axes.yaxis
        names = _names_at(axis, middle) or _numbers_at(axis, middle)
        if not names:
            return None
        found.append((bar, names))
    return found if 0 < sum(len(names) for _, names in found) <= min(texts, MOST) else None


def _in_order(bar: Any, names: list[str], labels: list[str], *, is_upwards: bool) -> list[str]:
    """Bars as one reads them: from the left, or from the top, where the last one may have been drawn."""
    read = [f"{name} {label}" for name, label in zip(names, labels, strict=True)]
    return read[::-1] if is_upwards and len(bar) > 1 and bar[0].get_y() < bar[-1].get_y() else read


def _named(axes: Axes, written: list[str]) -> list[str]:
    """Texts after the names of the rows that they stand in, where each stands in a row of its own."""
    texts = [text for text in axes.texts if _line(text.get_text()) in written]
    names = _names_at(axes.yaxis, [float(axes.convert_yunits(text.get_position()[1])) for text in texts])
    if axes.lines or axes.patches or len(set(names)) != len(written):
        return written
    return [f"{name} {_line(text.get_text())}" for name, text in zip(names, texts, strict=True)]


def _names_at(axis: Any, places: list[float]) -> list[str]:
    """The names that stand at places of an axis of names; none where a place has no name, or along numbers or dates."""
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), (StrCategoryLocator, FixedLocator)):
        return []
    ticks = [(at, _line(tick.get_text())) for at, tick in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)]
    near = [min(ticks, key=lambda tick, place=place: abs(tick[0] - place)) for place in places if ticks]
    is_there = all(abs(at - place) < 0.5 for (at, _), place in zip(near, places, strict=False))
    return [name for _, name in near] if is_there else []


def _numbers_at(axis: Any, places: list[float]) -> list[str]:
    """The numbers that bars stand at, where these are no dates."""
    from matplotlib.ticker import ScalarFormatter

    return [f"{place:g}" for place in places] if isinstance(axis.get_major_formatter(), ScalarFormatter) else []


def _line(text: str) -> str:
    return " ".join(text.split())
