"""Parameters of an exploration, checks for too little data, and its conclusion."""

from __future__ import annotations

from datetime import date

import duckdb
import pytest
from duckbook.analysis import exploration
from duckbook.errors import DuckbookError, NotEnough


def test_no_data_for_the_filters_raises_with_the_parameters_to_change():
    with pytest.raises(DuckbookError, match=r"There are no orders: change state='ZZ' in the parameters cell"):
        exploration.require(0, 200, "orders", state="ZZ", category=None)


def test_no_data_without_a_filter_raises_not_enough():
    with pytest.raises(NotEnough, match=r"^The published marts hold no orders\.$"):
        exploration.require(0, 200, "orders", state=None)


def test_too_few_rows_show_a_warning(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda text: shown.append(text.data))
    exploration.require(200, 200, "orders", state="TX")
    assert shown == []
    exploration.require(199, 200, "orders", state="TX")
    assert shown == ["**Too few orders to read a pattern from, 199**. Widen the period, or drop a filter."]


def test_a_conclusion_is_a_list_without_dollar_signs():
    conclusion = exploration.conclude(["$69.8k gross and $54.4k net", "+$5.7k"])
    assert conclusion.data == "- USD 69.8k gross and USD 54.4k net\n- +USD 5.7k"


def test_parameters_are_bound_and_never_pasted():
    with duckdb.connect() as connection:
        exploration.choose(
            connection, category="Women's wear' or '1'='1", period_start="2026-02-01", state=None, least=20
        )
        found = connection.execute("select category, period_start, state, least from chosen").fetchone()
    assert found == ("Women's wear' or '1'='1", date(2026, 2, 1), None, 20)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"period_start": "31.12.2025"}, r"period_start='31.12.2025' is not a date: write it as YYYY-MM-DD"),
        ({"period_end": "2026-02-30"}, r"period_end='2026-02-30' is not a date"),
        ({"period_end": "2026-02-15", "months": True}, "counts whole months: write 2026-02-01"),
        ({"period_start": "2026-03-01", "period_end": "2026-02-01"}, "The period ends before it begins"),
        ({"state": "XT", "allowed": {"state": "values ('TX'), ('NY'), (null)"}}, "There is no state 'XT'. .*: TX"),
    ],
)
def test_an_invalid_parameter_is_refused_by_name(parameters, sentence):
    with duckdb.connect() as connection, pytest.raises(DuckbookError, match=sentence):
        exploration.choose(connection, **parameters)


def test_an_allowed_value_and_none_are_accepted():
    with duckdb.connect() as connection:
        for state in ("TX", None):
            exploration.choose(connection, allowed={"state": "values ('TX'), ('NY')"}, state=state)
            assert connection.execute("select state from chosen").fetchone() == (state,)


def test_hours_are_joined_to_ranges():
    assert exploration.hour_ranges([11, 9, 10, 20]) == "from 9:00 to 12:00 and from 20:00 to 21:00"
    assert exploration.hour_ranges([]) == "in no hour"
