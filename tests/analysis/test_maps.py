"""Pictures of places: the map of tiles with every state once, and bars of the places of other stores."""

from __future__ import annotations

import csv

import matplotlib
import pandas as pd
import pytest
from duckbook.analysis import maps, plotting
from duckbook.settings import ROOT

matplotlib.use("agg")


def test_every_state_has_a_tile_of_its_own():
    with (ROOT / "dbt" / "seeds" / "us_states.csv").open() as file:
        states = {row["state"] for row in csv.DictReader(file) if row["region"] not in {"Territories", "Armed Forces"}}
    assert maps.TILES.keys() == states
    assert len(set(maps.TILES.values())) == len(states)


@pytest.mark.parametrize("figures", [{"TX": 1200.0, "CA": 90.0, "unknown": 5.0}, {"TX": 0.0}, {}])
def test_a_figure_stands_in_its_tile_and_what_is_no_state_is_left_out(figures):
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
    ("rows", "kind", "names", "is_map"),
    [
        # Other countries are places beside American states; what has no country is on no map.
        ([(US, "TX", 3), (US, "unknown", 1), ("Canada", "ON", 2), ("unknown", "TX", 9)],
         "state", ["TX", "unknown", "Canada", "unknown"], True),
        ([(US, "SC", 1), (BR, "SC", 1)], "country", [US, BR], False),
        ([(BR, "SC", 2), (BR, "SP", 3)], "state", ["SC", "SP"], False),
        ([("unknown", "SC", 2), ("unknown", "SP", 3)], "state", ["SC", "SP"], False),
        ([("United Kingdom", "unknown", 2)], "country", ["United Kingdom"], False),
        # A map without one state is none: their country is known, or the place that is no state.
        ([(US, "unknown", 2)], "country", [US], False),
        ([(US, "unknown", 2), ("Canada", "ON", 1)], "country", [US, "Canada"], False),
        ([(US, "PR", 2), (US, "unknown", 1)], "state", ["PR", "unknown"], False),
        ([("unknown", "unknown", 2)], "country", ["unknown"], False),
    ],
)  # fmt: skip
def test_a_store_is_looked_at_by_the_places_that_it_sells_to(rows, kind, names, is_map):
    found_kind, found, found_map = maps.choose_level(places(*rows))
    assert (found_kind, list(found), found_map) == (kind, names, is_map)


def test_rows_that_are_orders_count_as_one_each():
    assert maps.choose_level(places((US, "TX", 0), (US, "CA", 0), (BR, "SC", 0)).drop(columns="orders"))[2]


def test_bars_show_the_largest_places_first():
    figures = pd.Series({f"place {n}": float(n) for n in range(maps.MAX_BARS + 3)})
    axes = maps.bars("A finding", figures, plotting.dollars, unit="USD")
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [f"place {n}" for n in range(3, maps.MAX_BARS + 3)]
    assert [text.get_text() for text in axes.texts][-1] == f"${maps.MAX_BARS + 2}"
    matplotlib.pyplot.close(axes.figure)
