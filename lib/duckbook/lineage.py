"""The graph of a layer as a picture: what each model reads, from left to right.

A drawing in layers after Sugiyama, Tagawa and Toda (1981): a model stands one column right of the rightmost model that
it reads, and near the middle of what it reads. The same models give the same picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from duckbook import plotting
from duckbook.built import Model

Place = tuple[float, float]

WIDTH, LETTER = 1.8, 0.065
"""Inches of a column, and of a letter of a name."""


def draw(models: Iterable[Model], title: str) -> Any:
    """Draw models and what they read.

    Parameters
    ----------
    models
        The models of a build.
    title
        The finding, as a sentence.

    Returns
    -------
    Axes
        The picture; what was built is blue, what it reads from elsewhere grey.
    """
    reads = without_shortcuts({model.name: model.reads for model in models})
    places = arrange(reads)
    columns = 1 + max((x for x, _ in places.values()), default=0)
    tallest = max((abs(y) for _, y in places.values()), default=0)
    ax = plotting.chart(title, size=(WIDTH * columns, max(2.4, 0.5 * tallest + 0.8)))
    for name, sources in reads.items():
        for source in sources:
            (x0, y0), (x1, y1) = places[source], places[name]
            ends = [x0 + _half(source), x1 - _half(name)]
            ax.plot(ends, [y0, y1], color="#B8C2CC", linewidth=0.7, zorder=1)
    for name, (x, y) in places.items():
        colour = plotting.BLUE if name in reads else plotting.GREY
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(x, y, name, ha="center", va="center", fontsize=8, color=colour, bbox=box, zorder=2)
    ax.set_xlim(-0.6, columns - 0.4)
    ax.set_axis_off()
    return ax


def _half(name: str) -> float:
    """Half the width of a name, in columns: to measure the texts would take as long as to draw them."""
    return 0.5 * len(name) * LETTER / WIDTH + 0.02


def without_shortcuts(reads: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What each model reads, without what it is led to by something else that it reads (the transitive reduction)."""

    @cache
    def ancestors(name: str) -> frozenset[str]:
        direct = reads.get(name, ())
        return frozenset(direct).union(*(ancestors(source) for source in direct))

    return {
        name: tuple(s for s in sources if not any(s in ancestors(other) for other in sources))
        for name, sources in reads.items()
    }


def arrange(reads: dict[str, tuple[str, ...]]) -> dict[str, Place]:
    """Give every model a column and a height.

    Parameters
    ----------
    reads
        Model → what it reads; what is read and not a key stands in the first column.

    Returns
    -------
    dict
        Name → (column, height); heights of a column are centred on 0, two apart at most.
    """
    names = sorted({*reads, *(source for sources in reads.values() for source in sources)})

    @cache
    def column(name: str) -> int:
        return 1 + max((column(source) for source in reads.get(name, ())), default=-1)

    tallest = max((sum(column(n) == c for n in names) for c in {column(n) for n in names}), default=1)
    places: dict[str, Place] = {}
    for x in range(1 + max(map(column, names), default=0)):
        here = [name for name in names if column(name) == x]
        here.sort(key=lambda name: (_middle(reads.get(name, ()), places), name))
        step = tallest / len(here)
        for n, name in enumerate(here):
            places[name] = (x, ((len(here) - 1) / 2 - n) * step)
    return places


def _middle(sources: Iterable[str], places: dict[str, Place]) -> float:
    heights = [places[source][1] for source in sources]
    return -sum(heights) / len(heights) if heights else 0.0
