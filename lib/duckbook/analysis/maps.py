"""Pictures of places that need no network: a map of the United States, and bars for the rest of the world.

The map has a tile a state, in rows and columns that resemble the country. Every state has the same size, so that a
small one is seen as well as a large one, and its letters and its figure stand in it: it reads in black and white.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from duckbook.analysis import plotting

if TYPE_CHECKING:
    import pandas as pd

GRID = """
AK .. .. .. .. .. .. .. .. .. ME
.. .. .. .. .. .. .. .. .. VT NH
WA ID MT ND MN IL WI MI NY RI MA
OR NV WY SD IA IN OH PA NJ CT ..
CA UT CO NE MO KY WV VA MD DE ..
.. AZ NM KS AR TN NC SC DC .. ..
.. .. .. OK LA MS AL GA .. .. ..
HI .. .. TX .. .. .. .. FL .. ..
"""
"""The arrangement that NPR's graphics desk published in 2015; two dots are sea or another country."""

TILES = {
    state: (column, row)
    for row, line in enumerate(GRID.split("\n")[1:-1])
    for column, state in enumerate(line.split())
    if state != ".."
}
"""State → column from the west and row from the north."""


STATES = tuple(TILES)
"""The states that the map has, by their two letters."""

HOME = "United States"

MOST = 12
"""As many bars are drawn, those of the largest figures."""


def level(places: pd.DataFrame) -> tuple[str, pd.Series, bool]:
    """Choose what kind of place a store is looked at by: American states, countries, or the states of its one country.

    Parameters
    ----------
    places
        One row per order, or with their number in a column `orders`; `country` and `state` as dim_locations has them.

    Returns
    -------
    tuple
        The kind of place, the name of the place of each row, and whether the map can show them. Beside American states
        another country is a place of its own; a state is never taken for that of another country.
    """
    known = places.country != "unknown"
    orders = places.orders if "orders" in places else known.map(lambda _: 1)
    at_home = places.country == HOME
    if 2 * orders[at_home].sum() > orders[known].sum() and places.state[at_home].isin(STATES).any():
        # What has no country known is nowhere on the map.
        return "state", places.state.where(at_home, places.country), True
    if places.country[known].nunique() > 1 or (places.state == "unknown").all():
        return "country", places.country, False
    return "state", places.state, False


def bars(title: str, values: pd.Series, write: Callable[[float], str], *, unit: str) -> Any:
    """Draw a figure of each place as a bar, the largest first; parameters as those of `tiles`."""
    top = values.dropna().astype(float).sort_values(ascending=False, kind="stable").head(MOST)[::-1]
    axes = plotting.chart(title, x=unit, size=(8, 1.4 + 0.22 * len(top)))
    axes.barh(top.index, top, color=plotting.BLUE)
    plotting.label_bars(axes, [write(value) for value in top])
    axes.xaxis.set_major_formatter(lambda value, _position: write(value))
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    return axes


def tiles(title: str, values: pd.Series, write: Callable[[float], str], *, unit: str) -> Any:
    """Draw a figure of each state as the darkness of its tile.

    Parameters
    ----------
    title
        The finding, as a sentence.
    values
        Figures by the two letters of the state. A state without one stays empty; what is no state is left out.
    write
        How a figure is written in its tile, such as `plotting.dollars`.
    unit
        What the figures are, for the line below the map.

    Returns
    -------
    Axes
        The map.
    """
    from matplotlib import patches

    known = values[values.index.isin(TILES)].dropna().astype(float)
    low, high = (min(known.min(), 0.0), known.max()) if len(known) else (0.0, 0.0)
    axes, colours = plotting.chart(title, size=(8, 4.4)), plotting.heat()
    for state, (column, row) in TILES.items():
        share = (known[state] - low) / (high - low) if state in known and high > low else 0.0
        face = colours(share) if state in known else "none"
        tile = patches.Rectangle((column, row), 0.94, 0.94, facecolor=face, edgecolor=plotting.EDGE, linewidth=0.6)
        tile.set_in_layout(False)
        axes.add_patch(tile)
        middle, ink = column + 0.47, plotting.ink_on(face) if state in known else plotting.INK
        # What stands within the axes moves nothing, and to measure a hundred texts takes as long as to draw them.
        placed = {"ha": "center", "va": "center", "color": ink, "in_layout": False}
        axes.text(middle, row + 0.34, state, fontsize=9, fontweight="bold", **placed)
        if state in known:
            axes.text(middle, row + 0.68, write(known[state]), fontsize=7, **placed)
    axes.set(xlim=(-0.1, 11), ylim=(8.05, -0.1), xticks=[], yticks=[], xlabel=f"{unit}; empty: none")
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    return axes
