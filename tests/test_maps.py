"""The map of tiles: every state once, and each figure in its tile."""

from __future__ import annotations

import csv

import matplotlib
import pandas as pd
import pytest
from duckbook import maps, plotting
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
