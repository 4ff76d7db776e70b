"""Print the report of a landing zone check."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from duckbook.cli import terminal
from duckbook.ops.landing_check import CheckReport


def show(out: Console, report: CheckReport) -> None:
    """Print the tables, totals, findings and errors of a check."""
    counts = ("found", "new", "landed", "unreadable", "quarantined")
    tables = Table(title="What would be read: sources found and new, and rows of the new sources")
    tables.add_column("table")
    for name in counts:
        tables.add_column(name, justify="right")
    for row in report.tables:
        tables.add_row(row["table"], *(f"{row[name]:,}" for name in counts))
    terminal.show_table(out, tables)
    if report.totals:
        terminal.show_table(out, _totals(report.totals))
    # The same finding in several objects is one row.
    groups: dict[tuple[str, str, str], list] = {}
    for finding in report.findings:
        columns = finding.example if finding.finding.startswith("columns") else ""
        groups.setdefault((finding.table, finding.finding, columns), []).append(finding)
    if groups:
        findings = Table(title="Findings")
        for name in ("table", "finding", "rows", "source", "for example"):
            findings.add_column(name, justify="right" if name == "rows" else "left", overflow="fold")
        for (table, what, columns), group in groups.items():
            first = group[0]
            rows = f"{sum(each.rows for each in group):,}" if first.rows and not columns else ""
            more = f" and {len(group) - 1:,} more" if len(group) > 1 else ""
            findings.add_row(escape(table), escape(what), rows, escape(first.source) + more, escape(first.example))
        terminal.show_table(out, findings)
    for stop in report.stops:
        out.print(f"[red]✗[/] {escape(stop)}", soft_wrap=True)
    verdict = "would fail: fix the errors marked ✗" if report.stops else "would ingest this"
    out.print(f"`make pipeline GENERATE=0` {verdict}. Nothing was changed.")


def _totals(rows: list[dict]) -> Table:
    """Totals that the owner of the shop can compare, one row per currency."""
    table = Table(title="Totals of the new sources, newest record per key: compare them with your shop system")
    table.add_column("currency")
    for name in ("orders", "lines", "units", "sum of items", "sum of orders", "first day", "last day"):
        table.add_column(name, justify="right")
    for row in rows:
        amounts = ("" if row[name] is None else f"{row[name]:,.2f}" for name in ("items_amount", "orders_amount"))
        counts = (f"{row[name]:,}" for name in ("orders", "lines", "units"))
        days = (str(row[name] or "") for name in ("first_day", "last_day"))
        table.add_row(escape(row["currency"]), *counts, *amounts, *days)
    return table
