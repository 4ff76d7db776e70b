"""Table style: how frames are shown, for generated inputs and in a real kernel."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

import pandas as pd
import pytest
from duckbook.analysis.table_style import as_html, as_text, table
from duckbook.analysis.value_style import plain
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

MONEY = st.decimals(min_value=-(10**15), max_value=10**15, places=2)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def column(name: str, values: list, **formats: str) -> list[str]:
    """The cells of a table with one column, without its heading."""
    return [line.strip() for line in as_text(pd.DataFrame({name: values}), formats).splitlines()[1:]]


def number(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("−", "-"))


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("revenue", [1456600.0, -85.125], ["1,456,600.00", "−85.13"]),
        ("net_amount", [Decimal("12345678901234567.895"), None], ["12,345,678,901,234,567.90", "–"]),
        ("refund_amount", [0.0, 0.004], ["0.00", "<0.01"]),
        ("price_before", [10.0, 9.5], ["10.00", "9.50"]),
        ("average_order_value", [85.12], ["85.12"]),
        ("return_rate", [0.1619, 0.0, 0.00001], ["16.2%", "0.0%", "<0.1%"]),
        ("share_of_revenue", [0.0935, 1.0], ["9.4%", "100.0%"]),
        ("conversion", [0.125, None], ["12.5%", "–"]),
        ("most", [Decimal("1234567.10"), Decimal("0.0312"), Decimal(5)], ["1,234,567.10", "0.0312", "5"]),
        ("units", [1234567, 3], ["1,234,567", "3"]),
        ("orders", [1234.0, None], ["1,234", "–"]),
        ("orders_at_discount", [1200.0], ["1,200"]),
        ("price_changes", [1988.0], ["1,988"]),
        ("price_elasticity", [-2.6, -1.25], ["−2.60", "−1.25"]),
        ("p_value", [0.03, 0.00000012], ["0.0300", "<0.0001"]),
        ("days", [123.4, 0.25], ["123.40", "0.25"]),
        ("date_key", [20260630], ["20260630"]),
        ("date_key", [20260630.0, None], ["20260630", "–"]),
        ("year", [2026, 2025], ["2026", "2025"]),
        ("customer_id", ["00012"], ["00012"]),
        ("is_known", [True, False, None], ["yes", "no", "–"]),
        ("is_whole", [True, False], ["yes", "no"]),
        ("valid_to", [dt.date(9999, 12, 31), None], ["9999-12-31", "–"]),
        ("day", pd.to_datetime(["2026-06-30", None]), ["2026-06-30", "–"]),
        ("at", pd.to_datetime(["2026-06-30 00:00", "2026-06-30 14:05"]), ["2026-06-30 00:00", "2026-06-30 14:05"]),
        ("at", pd.to_datetime(["2026-06-30 14:05:09"]), ["2026-06-30 14:05:09"]),
        ("state", ["TX", None], ["TX", "–"]),
        ("lift", [float("inf"), 1.5], ["∞", "1.50"]),
        ("root", [1 + 2j], ["(1+2j)"]),
        ("parts", [[], ["a", 1200]], ["", "a, 1,200"]),
        ("nothing", [None, None], ["–", "–"]),
    ],
)
def test_values_are_formatted_by_column_name_and_type(name, values, shown):
    assert column(name, values) == shown


def test_formats_can_be_given():
    frame = pd.DataFrame({"found": [0.1619], "value": [12.0], "auc": [0.81239]})
    assert repr(table(frame, found="percent", value="count", auc="{:.3f}")).split() == [
        *("found", "value", "auc"),
        *("16.2%", "12", "0.812"),
    ]
    with pytest.raises(ValueError, match=r"'procent' is unknown: there are percent"):
        table(frame, found="procent")
    with pytest.raises(ValueError, match="no column 'revenue'"):
        table(frame, revenue="money")


def test_headings_are_words_and_row_numbers_are_left_out():
    frame = pd.DataFrame({"table_name": ["a", "b"], "first_date": ["x", "y"]}).sort_values(
        "table_name", ascending=False
    )
    assert as_text(frame).splitlines()[0].split("  ") == ["table name", "first date"]
    assert as_text(frame).splitlines()[1].split() == ["b", "y"]


def test_a_meaningful_index_is_the_first_column():
    sums = pd.DataFrame({"device": ["tablet", "mobile"], "visits": [1000, 3]}).groupby("device").visits.sum()
    assert [line.split() for line in as_text(sums).splitlines()] == [
        ["device", "visits"],
        ["mobile", "3"],
        ["tablet", "1,000"],
    ]
    pivot = pd.DataFrame({("visits", "all"): [1]}, index=["mobile"])
    assert [line.split("  ")[-1].split() for line in as_text(pivot).splitlines()] == [["visits,", "all"], ["1"]]


def test_a_long_frame_is_cut_in_the_middle_and_says_how_long_it_is():
    shown = as_text(pd.DataFrame({"n": range(1234)})).split()
    assert shown == [*("n", "0", "1", "2", "3", "4", "…"), "1,229", "1,230", "1,231", "1,232", "1,233", "1,234", "rows"]
    assert as_html(pd.DataFrame({"n": range(1234)})).endswith("<p>1,234 rows</p>")
    assert as_text(pd.DataFrame({"n": []})).endswith("no rows")


def test_text_is_left_aligned_numbers_right_aligned_and_nothing_is_coloured():
    written = as_html(pd.DataFrame({"note": ["a paragraph"], "orders": [12]}))
    assert '<th><div align="left">note</div></th>' in written
    assert '<td><div align="left">a paragraph</div></td>' in written
    assert "<td>12</td>" in written
    assert not re.search("background|color|<style", written)


@given(st.text(), st.text())
def test_data_is_text_and_never_markup(name, value):
    written = as_html(pd.DataFrame({name: [f"<img src=x onerror='{value}'>"], "b": [f"</td>&{value}"]}))
    assert set(re.findall(r"<(/?[a-z]+)", written)) <= {
        end + tag for tag in ("table", "thead", "tbody", "tr", "th", "td", "div") for end in ("", "/")
    }


@given(st.lists(FLOATS, min_size=1), st.sampled_from(["value", "share", "found", "orders"]))
def test_no_number_is_in_scientific_notation_and_no_nonzero_number_shows_zero(values, name):
    for value, text in zip(values, column(name, values), strict=True):
        assert re.fullmatch(r"–|−?∞|[<>]?−?\d{1,3}(,\d{3})*(\.\d+)?%?", text)
        if value == value and value != 0:
            assert not re.fullmatch(r"−?0[.0]*%?", text)


@given(st.lists(MONEY, min_size=1, max_size=50))
def test_shown_amounts_add_up_to_the_total(values):
    assert sum(map(number, column("revenue", values))) == sum(values)


@given(st.lists(st.integers(-(10**30), 10**30), min_size=1, max_size=50))
def test_counts_are_whole_and_exact_with_separators(values):
    assert [int(number(text)) for text in column("orders", values)] == values


@given(st.lists(st.decimals(0, 1, places=6), min_size=1, max_size=50))
def test_shares_are_within_half_of_the_last_digit(values):
    for value, text in zip(values, column("share", values), strict=True):
        assert text == "<0.1%" or abs(number(text[:-1]) - 100 * value) <= Decimal("0.05")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12000, "12,000"),
        (0.4, "0.400"),
        (1135686.78, "1,135,686.78"),
        (Decimal("1.50"), "1.50"),
        (3.0, "3"),
        (True, "yes"),
        (None, "–"),
    ],
)
def test_a_single_value_is_formatted(value, shown):
    assert plain(value) == shown


def test_frames_have_the_style_after_notebook_start(tmp_path, monkeypatch):
    from duckbook.analysis import notebook

    monkeypatch.setenv("DUCKBOOK_DATA", str(tmp_path))
    shell = InteractiveShell.instance()
    try:
        book = notebook.start()
        shown, _ = shell.display_formatter.format(pd.DataFrame({"revenue": [1456600.0]}))
        assert shown["text/plain"].split() == ["revenue", "1,456,600.00"]
        assert "<td>1,456,600.00</td>" in shown["text/html"]
        book.check("orders", expected=12_000, found=12_000)
        book.finish()
    finally:
        InteractiveShell.clear_instance()
