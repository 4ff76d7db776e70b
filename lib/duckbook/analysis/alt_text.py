"""Alternative text of a chart for screen readers, derived from the matplotlib figure.

It gives the kind of chart, its title, axes and series, and the values written into it. All other values are in the
table next to the chart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_VALUES = 20
"""Charts with more values, such as heat maps and tile maps, leave them to their table."""


def describe(figure: Figure) -> str:
    """Describe a figure in one paragraph.

    Returns
    -------
    str
        Such as "Bar chart: Books bring 17% of revenue. Across: revenue, USD. Books 17.5%; Shoes 4.5%."
    """
    charts = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in charts)]
    kinds = " and ".join(dict.fromkeys(kind for axes in charts for kind in _kinds(axes))) or "diagram"
    sentences = [": ".join([kinds.capitalize(), *(_line(title) for title in titles if title)])]
    sentences += [sentence for axes in charts for sentence in _sentences(axes)]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences)


def _kinds(axes: Axes) -> Iterator[str]:
    from matplotlib.container import BarContainer, ErrorbarContainer

    containers = {type(container) for container in axes.containers}
    if axes.images:
        yield "heat map"
    if BarContainer in containers:
        yield "bar chart"
    if ErrorbarContainer in containers:
        yield "chart of intervals"
    elif any(np.size(line.get_xdata()) > 2 for line in axes.lines):
        yield "line chart"
    if axes.collections and not containers and not axes.lines:
        yield "chart of points"
    if axes.patches and not containers:
        yield "map of tiles"


def _sentences(axes: Axes) -> Iterator[str]:
    """Sentences for one chart: axis labels, series names, and the values written into it."""
    for direction, label in (("Across", axes.get_xlabel()), ("Upwards", axes.get_ylabel())):
        if label:
            yield f"{direction}: {_line(label)}"
    series = [_line(text) for text in axes.get_legend_handles_labels()[1]]
    written = [_line(text.get_text()) for text in axes.texts if text.get_text().strip()]
    bars = _labelled_bars(axes, len(written))
    if bars is None:
        written = [text for text in written if text not in series]
        if series:
            yield f"Series: {', '.join(series)}"
        if 0 < len(written) <= MAX_VALUES:
            yield "; ".join(_with_row_names(axes, written))
        return
    for index, (bar, names) in enumerate(bars):
        labels, written = written[: len(names)], written[len(names) :]
        prefix = f"{series[index]}: " if len(bars) > 1 and len(series) == len(bars) else ""
        is_upwards = bar.orientation == "horizontal" and not axes.yaxis_inverted()
        yield prefix + "; ".join(_in_reading_order(bar, names, labels, is_upwards=is_upwards))
    if written:
        yield "; ".join(written)


def _labelled_bars(axes: Axes, texts: int) -> list[tuple[Any, list[str]]] | None:
    """Each group of bars with the names of its bars; None unless every bar has a name and a value label."""
    from matplotlib.container import BarContainer

    groups = []
    for bar in (container for container in axes.containers if isinstance(container, BarContainer)):
        is_upright = bar.orientation == "vertical"
        middle = [
            box.x0 + box.width / 2 if is_upright else box.y0 + box.height / 2
            for box in (patch.get_bbox() for patch in bar)
        ]
        axis = axes.xaxis if is_upright else axes.yaxis
        names = _names_at(axis, middle) or _numbers_at(axis, middle)
        if not names:
            return None
        groups.append((bar, names))
    return groups if 0 < sum(len(names) for _, names in groups) <= min(texts, MAX_VALUES) else None


def _in_reading_order(bar: Any, names: list[str], labels: list[str], *, is_upwards: bool) -> list[str]:
    """Bars from left to right, or from top to bottom even if they were drawn upwards."""
    texts = [f"{name} {label}" for name, label in zip(names, labels, strict=True)]
    return texts[::-1] if is_upwards and len(bar) > 1 and bar[0].get_y() < bar[-1].get_y() else texts


def _with_row_names(axes: Axes, written: list[str]) -> list[str]:
    """Prefix each text with the name of its row, if each row has exactly one text."""
    texts = [text for text in axes.texts if _line(text.get_text()) in written]
    names = _names_at(axes.yaxis, [float(axes.convert_yunits(text.get_position()[1])) for text in texts])
    if axes.lines or axes.patches or len(set(names)) != len(written):
        return written
    return [f"{name} {_line(text.get_text())}" for name, text in zip(names, texts, strict=True)]


def _names_at(axis: Any, positions: list[float]) -> list[str]:
    """Tick names at positions of a categorical axis; empty for numbers and dates, or if a position has no name."""
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), (StrCategoryLocator, FixedLocator)):
        return []
    ticks = [(at, _line(tick.get_text())) for at, tick in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)]
    nearest = [ticks[int(np.argmin([abs(at - position) for at, _ in ticks]))] for position in positions if ticks]
    is_close = all(abs(at - position) < 0.5 for (at, _), position in zip(nearest, positions, strict=False))
    return [name for _, name in nearest] if is_close else []


def _numbers_at(axis: Any, positions: list[float]) -> list[str]:
    """Positions as text on a numeric axis; empty for dates."""
    from matplotlib.ticker import ScalarFormatter

    is_numeric = isinstance(axis.get_major_formatter(), ScalarFormatter)
    return [f"{position:g}" for position in positions] if is_numeric else []


def _line(text: str) -> str:
    return " ".join(text.split())
