"""Charts of places that need no network: a tile map of the United States, and bars for other places.

The map has one tile per state, arranged like the country. All tiles have the same size, so small states are as visible
as large ones. Each tile shows the state's code and value, so the map reads in black and white.
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
"""The layout published by NPR's graphics desk in 2015; two dots are an empty tile."""

TILES = {
    state: (column, row)
    for row, line in enumerate(GRID.split("\n")[1:-1])
    for column, state in enumerate(line.split())
    if state != ".."
}
"""State → column from the west and row from the north."""

STATES = tuple(TILES)
"""Two-letter codes of the states on the map."""

HOME = "United States"

MAX_BARS = 12
"""Bars are drawn for this many of the largest values."""


def choose_level(places: pd.DataFrame) -> tuple[str, pd.Series, bool]:
    """Choose the geographic level of a shop: US states, countries, or the states of its only country.

    Parameters
    ----------
    places
        One row per order, or the number of orders in a column `orders`; `country` and `state` as in dim_locations.

    Returns
    -------
    tuple
        The level, the place of each row, and whether the map can show them. On the level of US states each other
        country is one place, so that its states are not mistaken for US states.
    """
    known = places.country != "unknown"
    orders = places.orders if "orders" in places else known.map(lambda _: 1)
    at_home = places.country == HOME
    if 2 * orders[at_home].sum() > orders[known].sum() and places.state[at_home].isin(STATES).any():
        return "state", places.state.where(at_home, places.country), True
    if places.country[known].nunique() > 1 or (places.state == "unknown").all():
        return "country", places.country, False
    return "state", places.state, False


def bars(title: str, values: pd.Series, write: Callable[[float], str], *, unit: str) -> Any:
    """Draw a bar per place, the largest first; the parameters are those of `tiles`."""
    top = values.dropna().astype(float).sort_values(ascending=False, kind="stable").head(MAX_BARS)[::-1]
    axes = plotting.chart(title, x=unit, size=(8, 1.4 + 0.22 * len(top)))
    axes.barh(top.index, top, color=plotting.BLUE)
    plotting.label_bars(axes, [write(value) for value in top])
    axes.xaxis.set_major_formatter(lambda value, _position: write(value))
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    return axes


def tiles(title: str, values: pd.Series, write: Callable[[float], str], *, unit: str) -> Any:
    """Draw a tile per state; the larger its value, the darker the tile.

    Parameters
    ----------
    title
        The finding, as a sentence.
    values
        Values by two-letter state code. A state without a value stays empty; other places are ignored.
    write
        Formatter of the values, such as `plotting.dollars`.
    unit
        What the values are, for the line below the map.

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
        # Text inside the axes does not affect the layout, and measuring it takes as long as drawing it.
        style = {"ha": "center", "va": "center", "color": ink, "in_layout": False}
        axes.text(middle, row + 0.34, state, fontsize=9, fontweight="bold", **style)
        if state in known:
            axes.text(middle, row + 0.68, write(known[state]), fontsize=7, **style)
    axes.set(xlim=(-0.1, 11), ylim=(8.05, -0.1), xticks=[], yticks=[], xlabel=f"{unit}; empty: none")
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    return axes
