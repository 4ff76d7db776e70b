"""Terminal summaries: no number is cut, and only what the run did is shown."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest
from duckbook.cli import landing_report, terminal
from duckbook.runs import run_archive
from rich.console import Console
from rich.table import Column, Table

STEP = {"name": "explore_sales", "status": run_archive.SUCCEEDED, "seconds": 1.0, "peak_rss_mb": 1.0}
RUN = {
    "run_id": "one", "status": run_archive.SUCCEEDED, "seconds": 1.0, "target": "duckdb", "as_of": None,
    "steps": [STEP], "tables": [], "reconciliation": [], "tests": {"passed": 0, "failed": 0, "warned": 0},
}  # fmt: skip
COUNTS = ("landed", "appended", "unchanged", "unreadable", "raw", "staged", "superseded", "quarantined")


def summary(tmp_path, width: int = 100, **more) -> str:
    out = Console(file=StringIO(), width=width, highlight=False)
    terminal.show_summary(out, RUN | more, tmp_path / "index.html")
    return out.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_numbers_are_never_cut(tmp_path, width):
    table = {"table": "interactions"} | {name: 1_052_247_800 + n for n, name in enumerate(COUNTS)}
    text = summary(tmp_path, width, tables=[table])
    assert [f"{table[name]:,}" in text for name in COUNTS] == [True] * len(COUNTS)
    assert "…" not in text


def test_a_run_without_marts_and_tests_does_not_mention_them(tmp_path):
    text = summary(tmp_path)
    assert "Marts" not in text and "Tests" not in text


def test_a_total_that_differs_is_named_with_its_mart_and_both_totals(tmp_path):
    rows = [
        {"mart": "fct_a", "measure": "units", "mart_total": 5, "staging_total": 5, "equal": True},
        {"mart": "fct_a", "measure": "revenue", "mart_total": 1234567.5, "staging_total": 1234567, "equal": False},
    ]
    text = summary(tmp_path, reconciliation=rows, tests={"passed": 98, "failed": 1, "warned": 4})
    expected = (
        "1 of 2 totals differ from staging: fct_a.revenue is 1,234,567.50 in the mart and 1,234,567.00 in staging."
    )
    assert expected in text
    assert "Tests: 103 ran, 98 passed, 4 warned, 1 failed." in text


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_number_of_any_table_is_cut(width):
    """Even if the terminal is narrow; texts are folded instead."""
    numbers = [f"{10**n:,}.25" for n in (9, 10, 11, 12)]
    table = Table("a long name", *(Column(f"sum {n}", justify="right") for n in range(4)))
    table.add_row("s3://somebodys-bucket/json/orders/date=2026-06-30/orders.ndjson", *numbers)
    out = StringIO()
    terminal.show_table(Console(file=out, width=width), table)
    assert all(number in out.getvalue() for number in numbers)
    assert "…" not in out.getvalue()


def test_the_totals_of_a_landing_check_fit_80_columns():
    counts = dict.fromkeys(("found", "new", "landed", "unreadable", "quarantined"), 123456789)
    amounts = {"items_amount": 9_876_543_210.12, "orders_amount": 9_876_543_211.12}
    total = {"currency": "USD", "orders": 12_345_678, "lines": 23_456_789, "units": 34_567_890} | amounts
    days = {"first_day": "2023-07-01", "last_day": "2026-06-30"}
    report = SimpleNamespace(tables=[{"table": "orders"} | counts], totals=[total | days], findings=[], stops=[])
    out = StringIO()
    landing_report.show(Console(file=out, width=80), report)
    for number in ("123,456,789", "12,345,678", "9,876,543,210.12", "9,876,543,211.12", "2023-07-01"):
        assert number in out.getvalue(), out.getvalue()


def test_findings_are_not_interpreted_as_markup():
    finding = "DUCKBOOK_ORDER_STATUSES='lost [paid]=cancelled' would say what x[/y] means"
    findings = [SimpleNamespace(table="orders", finding=finding, rows=1, source="s3://a/[b]", example="[/c]")]
    out = StringIO()
    landing_report.show(
        Console(file=out, width=400), SimpleNamespace(tables=[], totals=[], findings=findings, stops=[])
    )
    for text in (finding, "s3://a/[b]", "[/c]"):
        assert text in out.getvalue(), out.getvalue()
