"""What a look at a landing zone found, as a person reads it in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from duckbook.cli import terminal
from duckbook.ops.landing_check import CheckReport


def show(out: Console, report: CheckReport) -> None:
    """What a look at a landing zone found: table by table, what a person should know, and what would stop a run."""
    counts = ("found", "new", "landed", "unreadable", "quarantined")
    tables = Table(title="What would be read: sources found and new, and the rows of the new ones")
    tables.add_column("table")
    for name in counts:
        tables.add_column(name, justify="right")
    for row in report.tables:
        tables.add_row(row["table"], *(f"{row[name]:,}" for name in counts))
    terminal.show_table(out, tables)
    if report.totals:
        terminal.show_table(out, _totals(report.totals))
    # The same finding in many objects is one to a person.
    alike: dict[tuple[str, str, str], list] = {}
    for finding in report.findings:
        columns = finding.example if finding.finding.startswith("columns") else ""
        alike.setdefault((finding.table, finding.finding, columns), []).append(finding)
    if alike:
        told = Table(title="What to know before")
        for name in ("table", "finding", "rows", "source", "for example"):
            told.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
        for (table, finding, columns), mine in alike.items():
            rows = "" if columns else f"{sum(one.rows for one in mine):,}" if mine[0].rows else ""
            more = f" and {len(mine) - 1:,} more" if len(mine) > 1 else ""
            told.add_row(escape(table), escape(finding), rows, escape(mine[0].source) + more, escape(mine[0].example))
        terminal.show_table(out, told)
    for stop in report.stops:
        out.print(f"[red]✗[/] {escape(stop)}", soft_wrap=True)
    verdict = "would fail: fix what is marked ✗" if report.stops else "would ingest this"
    out.print(f"`make pipeline GENERATE=0` {verdict}. Nothing was changed.")


def _totals(rows: list[dict]) -> Table:
    """What the owner of the shop knows, a row a currency."""
    table = Table(title="What the new sources hold, the newest record of each key: is it what you know?")
    table.add_column("currency")
    for name in ("orders", "lines", "units", "sum of items", "sum of orders", "first day", "last day"):
        table.add_column(name, justify="right")
    for row in rows:
        amounts = ("" if row[name] is None else f"{row[name]:,.2f}" for name in ("items_amount", "orders_amount"))
        counts = (f"{row[name]:,}" for name in ("orders", "lines", "units"))
        days = (str(row[name] or "") for name in ("first_day", "last_day"))
        table.add_row(escape(row["currency"]), *counts, *amounts, *days)
    return table
