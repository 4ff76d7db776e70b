"""An exploration whose parameters leave too little says so, and stops where they leave nothing."""

from __future__ import annotations

import pytest
from duckbook import exploration
from duckbook.errors import DuckbookError


def test_nothing_at_all_stops_with_the_parameters_to_change():
    with pytest.raises(DuckbookError, match=r"There are no orders: change state='ZZ' in the parameters cell"):
        exploration.require(0, 200, "orders", state="ZZ", category=None)
    with pytest.raises(DuckbookError, match="run the pipeline with more customers"):
        exploration.require(0, 200, "orders", state=None)


def test_too_few_are_told_and_enough_are_not(monkeypatch):
    told = []
    monkeypatch.setattr("IPython.display.display", lambda text: told.append(text.data))
    exploration.require(200, 200, "orders", state="TX")
    assert told == []
    exploration.require(199, 200, "orders", state="TX")
    assert told == ["**Only 199 orders**: too few to read a pattern from. Widen the period, or drop a filter."]


def test_a_conclusion_is_a_list_in_which_no_dollar_begins_a_formula():
    told = exploration.conclude(["$69.8k gross and $54.4k net", "+$5.7k"])
    assert told.data == "- USD 69.8k gross and USD 54.4k net\n- +USD 5.7k"
