"""Charts of places: the tile map with every state once, and bars for places elsewhere."""

from __future__ import annotations

import csv

import matplotlib
import pandas as pd
import pytest
from duckbook.analysis import maps, plotting
from duckbook.settings import ROOT

matplotlib.use("agg")


def test_every_state_has_one_tile():
    with (ROOT / "dbt" / "seeds" / "us_states.csv").open() as file:
        states = {row["state"] for row in csv.DictReader(file) if row["region"] not in {"Territories", "Armed Forces"}}
    assert maps.TILES.keys() == states
    assert len(set(maps.TILES.values())) == len(states)


@pytest.mark.parametrize("figures", [{"TX": 1200.0, "CA": 90.0, "unknown": 5.0}, {"TX": 0.0}, {}])
def test_values_are_in_their_tiles_and_other_places_are_ignored(figures):
    axes = maps.tiles("A finding", pd.Series(figures, dtype=float), plotting.dollars, unit="USD")
    texts = [text.get_text() for text in axes.texts]
    written = [text for text in texts if text.startswith("$")]
    assert sorted(written) == sorted(plotting.dollars(value) for name, value in figures.items() if name in maps.TILES)
    assert axes.figure.get_suptitle() == "A finding"
    matplotlib.pyplot.close(axes.figure)


def places(*rows: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["country", "state", "orders"])


US, BR = "United States", "Brazil"


@pytest.mark.parametrize(
    ("rows", "level", "names", "is_map"),
    [
        # Other countries are places next to US states; orders without a country are not on the map.
        ([(US, "TX", 3), (US, "unknown", 1), ("Canada", "ON", 2), ("unknown", "TX", 9)],
         "state", ["TX", "unknown", "Canada", "unknown"], True),
        ([(US, "SC", 1), (BR, "SC", 1)], "country", [US, BR], False),
        ([(BR, "SC", 2), (BR, "SP", 3)], "state", ["SC", "SP"], False),
        ([("unknown", "SC", 2), ("unknown", "SP", 3)], "state", ["SC", "SP"], False),
        ([("United Kingdom", "unknown", 2)], "country", ["United Kingdom"], False),
        # Without any state that the map shows there is no map.
        ([(US, "unknown", 2)], "country", [US], False),
        ([(US, "unknown", 2), ("Canada", "ON", 1)], "country", [US, "Canada"], False),
        ([(US, "PR", 2), (US, "unknown", 1)], "state", ["PR", "unknown"], False),
        ([("unknown", "unknown", 2)], "country", ["unknown"], False),
    ],
)  # fmt: skip
def test_the_level_follows_the_places_that_the_shop_sells_to(rows, level, names, is_map):
    found_level, found, found_map = maps.choose_level(places(*rows))
    assert (found_level, list(found), found_map) == (level, names, is_map)


def test_rows_without_a_count_are_one_order_each():
    assert maps.choose_level(places((US, "TX", 0), (US, "CA", 0), (BR, "SC", 0)).drop(columns="orders"))[2]


def test_bars_show_the_largest_places_first():
    figures = pd.Series({f"place {n}": float(n) for n in range(maps.MAX_BARS + 3)})
    axes = maps.bars("A finding", figures, plotting.dollars, unit="USD")
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [f"place {n}" for n in range(3, maps.MAX_BARS + 3)]
    assert [text.get_text() for text in axes.texts][-1] == f"${maps.MAX_BARS + 2}"
    matplotlib.pyplot.close(axes.figure)
