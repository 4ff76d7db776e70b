"""Terminal progress and summaries: a live line per running step, and tables at the end.

Without a terminal, such as in a log file, output is plain lines without colours.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from duckbook.errors import visible
from duckbook.runs import facts, run_archive
from duckbook.runs.chain import Step
from duckbook.runs.comparison import Section
from duckbook.transform import reconciliation

if TYPE_CHECKING:
    from duckbook.ops.parity import TableParity
    from duckbook.ops.person_erasure import Doubt, Erasure
    from duckbook.ops.remaining_copies import Trace

MARKS = {
    run_archive.SUCCEEDED: "[green]✓[/]",
    run_archive.FAILED: "[red]✗[/]",
    run_archive.INTERRUPTED: "[yellow]■[/]",
    run_archive.SKIPPED: "[dim]–[/]",
    run_archive.RUNNING: "…",
    run_archive.WAITING: "·",
}

MAX_RECORD_LENGTH = 300
"""Characters shown of a record."""

MIN_TEXT_WIDTH = 8
"""Minimum width of a text column in a narrow terminal."""


class Terminal(Console):
    """A console that survives a closed pipe, so that ``make pipeline | head`` does not stop the run."""

    def on_broken_pipe(self) -> None:
        """Discard all further output of the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a text with its control characters replaced."""
        return super().render_str(visible(text), **options)


def console(stderr: bool = False) -> Console:
    """A console for the terminal; for a log file, one with a fixed width."""
    terminal = Terminal(stderr=stderr, highlight=False)
    return terminal if terminal.is_terminal else Terminal(stderr=stderr, highlight=False, width=120)


def show_table(out: Console, table: Table) -> None:
    """Print a table; text columns are folded to fit, and number columns, which are right-aligned, never are."""
    for column in table.columns:
        is_number = column.justify == "right"
        column.no_wrap, column.overflow = is_number, "fold"
        widest = max(cell_len(str(text)) for text in (column.header, *column.cells))
        column.min_width = widest if is_number else min(widest, MIN_TEXT_WIDTH)
    # A terminal that is still too narrow wraps the lines.
    out.print(table, crop=False)


class LiveListener:
    """Shows progress: cells and elapsed time of each running step, a line per ended step, and the waiting steps."""

    def __init__(self, out: Console):
        self.out = out
        self.has_started = False
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}
        self._steps = 0
        self._waiting: list[str] = []
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[cell]}"),
            TimeElapsedColumn(),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self._chain = self._progress.add_task("[bold]starting", total=None, cell="")

    def __enter__(self) -> LiveListener:
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()

    def run_started(self, steps: list[Step]) -> None:
        """Show the number of steps."""
        self.has_started = True
        self._steps, self._waiting = len(steps), [step.name for step in steps]
        self._progress.update(self._chain, description="[bold]chain", total=len(steps), cell=self._state(0))

    def _state(self, done: float) -> str:
        return f"{done:.0f} of {self._steps}" + (f", waiting: {', '.join(self._waiting)}" if self._waiting else "")

    def step_started(self, step: Step) -> None:
        """Add a line for the step."""
        cells = _code_cells(step.notebook)
        with self._lock:
            self._tasks[step.name] = self._progress.add_task(step.name, total=cells, cell="")
            self._waiting = [name for name in self._waiting if name != step.name]
            self._progress.update(self._chain, cell=self._state(self._progress.tasks[0].completed))
        if not self.out.is_terminal:
            self.out.print(f"  {step.name} …")

    def cell_started(self, step: Step, cell: int) -> None:
        """Update the line of the step."""
        with self._lock:
            self._progress.update(self._tasks[step.name], completed=cell - 1, cell=f"cell {cell}")

    def step_ended(self, step: Step, entry: dict[str, Any]) -> None:
        """Replace the line of the step by its result."""
        with self._lock:
            if step.name in self._tasks:
                self._progress.remove_task(self._tasks.pop(step.name))
            self._progress.advance(self._chain)
            self._progress.update(self._chain, cell=self._state(self._progress.tasks[0].completed))
        self.out.print(f"{MARKS[entry['status']]} {step.name:<18} {entry['seconds'] or 0:6.1f} s")


def show_summary(out: Console, record: dict[str, Any], page: Path) -> None:
    """Print the steps, the reconciliation of rows and marts, the tests, and the path of the page."""
    show_table(out, _steps_table(record))
    for step in record["steps"]:
        if step["status"] == run_archive.SKIPPED and step["error"]:
            out.print(f"{step['name']} was skipped: {step['error']}", markup=False, soft_wrap=True)
    if record["tables"]:
        for table in _rows_tables(record["tables"], out):
            # A terminal that is too narrow wraps the lines; none is cut.
            out.print(table, width=max(out.width, _width(table, out)), crop=False)
    if record["reconciliation"]:
        out.print(marts_line(record["reconciliation"]), markup=False, soft_wrap=True)
    if any(record["tests"].values()):
        out.print(f"Tests: {facts.tests_line(record['tests'])}.")
    as_of = f", as of {record['as_of']}" if record["as_of"] else ""
    out.print(f"Run {record['run_id']} {record['status']} in {record['seconds']:.1f} s on {record['target']}{as_of}.")
    if record.get("page_error"):
        out.print(f"A part of the archive could not be written: {record['page_error']}", markup=False, soft_wrap=True)
    out.print(f"Page: {page}", markup=False, soft_wrap=True)


def show_failure(out: Console, record: dict[str, Any], notebook: Path | None, command: str) -> None:
    """Print the failed step, its error, its notebook, and the command that resumes the run."""
    failed = [step for step in record["steps"] if step["status"] in {run_archive.FAILED, run_archive.INTERRUPTED}]
    where = f"Step {failed[0]['name']} {failed[0]['status']}" if failed else f"The run {record['status']}"
    what = failed[0]["error"] if failed else record["error"]
    out.print(f"{where}: {what}", style="bold red", markup=False, soft_wrap=True)
    if notebook is not None and notebook.exists():
        out.print(f"Look at: {notebook}", markup=False, soft_wrap=True)
    for error in record.get("not_told", ()):
        out.print(error, markup=False, soft_wrap=True)
    out.print(f"Then resume with: {command}", markup=False, soft_wrap=True)


def show_comparison(out: Console, old: dict[str, Any], new: dict[str, Any], sections: list[Section]) -> None:
    """Print the comparison of two runs, one table per section."""
    out.print(f"Before: run {old['run_id']}. After: run {new['run_id']}.")
    for section in sections:
        if not section.rows:
            out.print(f"[bold]{section.title}[/]: no difference.")
            continue
        table = Table(title=section.title, title_justify="left")
        for number, name in enumerate(section.columns):
            table.add_column(
                name, justify="right" if number and "change" in section.columns else "left", overflow="fold"
            )
        for row in section.rows:
            table.add_row(*map(escape, row))
        show_table(out, table)


def show_erasure(
    out: Console, erasure: Erasure, traces: list[Trace], unreached: list[str], numbered: list[Path]
) -> None:
    """Print the erased rows, the searched places, and the copies that others have to erase."""
    if erasure.number is None:
        out.print("The history no longer has these people: they were erased before.")
    else:
        counts = ", ".join(f"{count:,} of {name}" for name, count in erasure.rows.items())
        out.print(f"Erased from the history, by commit {erasure.number}: {counts}.")
    table = Table(title="Searched for remaining copies", title_justify="left")
    for name in ("place", "contents", "found"):
        table.add_column(name, justify="right" if name == "found" else "left")
    for trace in traces:
        table.add_row(trace.place, trace.searched, f"{trace.found:,}", style="bold red" if trace.found else None)
    show_table(out, table)
    if erasure.sources:
        out.print(
            "These sources still name them, and their owner has to erase them there. Landing the sources again does "
            "not restore these people:"
        )
        for source in erasure.sources:
            out.print(f"  {source}", markup=False, soft_wrap=True)
    if numbered:
        runs_of = sorted({file.parent for file in numbered})
        out.print(
            f"{len(numbered):,} files of archived runs contain the number of the customer_id, which may mean these "
            f"people or something else. Delete the folders of runs where it means them, such as {runs_of[0]}.",
            markup=False,
            soft_wrap=True,
        )
    if unreached:
        out.print(
            f"Your own {' and '.join(unreached)} may keep deleted rows and objects on disk, and in versions, backups "
            "and write-ahead logs, for as long as its retention rules say."
        )
    if erasure.doubts:
        out.print(f"{len(erasure.doubts):,} records that may be theirs are listed at the start: read them.")


def show_doubts(out: Console, doubts: list[Doubt]) -> None:
    """List records that may be about erased people, with the command that erases them too."""
    from duckbook.ops.person_erasure import erase_command

    if not doubts:
        return
    out.print(
        f"{len(doubts):,} records may be about these people, and are not erased. Read them now, because they are not "
        "listed again. If another customer is the same person, erase that customer_id too:"
    )
    for doubt in doubts:
        customer = f"customer {doubt.customer}, " if doubt.customer else ""
        text = doubt.text if len(doubt.text) <= MAX_RECORD_LENGTH else f"{doubt.text[:MAX_RECORD_LENGTH]}…"
        for line in (f"  {doubt.record}  {customer}{doubt.why}  ({doubt.source})", f"    {text}"):
            out.print(" ".join(line.split("\n")), markup=False, soft_wrap=True)
    out.print("To erase those that are theirs, remove the others from this command and run it:")
    out.print(f"  {erase_command(doubts)}", markup=False, soft_wrap=True)


def show_parity(out: Console, left: str, right: str, tables: list[TableParity]) -> None:
    """Print the parity of two targets: the tables that differ, examples of their rows, and totals."""
    different = [table for table in tables if not table.equal]
    for title, columns, rows in (
        ("Tables that differ", ("table", left, right, "what"), [_parity_row(table) for table in different]),
        (
            "For example",
            ("table", "key", "column", left, right),
            [
                (table.table, example.key, example.column, _value(example.left), _value(example.right))
                for table in different
                for example in table.examples
            ],
        ),
    ):
        if rows:
            shown = Table(title=title, title_justify="left")
            for name in columns:
                shown.add_column(escape(name), overflow="fold")
            for row in rows:
                shown.add_row(*map(escape, row))
            out.print(shown)
    counted = f"{len(tables)} tables, {sum(table.rows[0] or 0 for table in tables):,} rows"
    verdict = f"{len(different)} of them differ" if different else "all equal" if tables else "nothing to compare"
    out.print(f"{left} and {right}: {counted}, {verdict}.", markup=False, soft_wrap=True)


def _parity_row(table: TableParity) -> tuple[str, ...]:
    return table.table, *("–" if rows is None else _count(rows) for rows in table.rows), table.summary


def _value(value: str | None) -> str:
    return "null" if value is None else value


def marts_line(rows: list[dict[str, Any]]) -> str:
    """The reconciliation of the marts in one line, with the totals that differ."""
    differing = sum(not row["equal"] for row in rows)
    if differing:
        return f"Marts: {differing} of {len(rows)} totals differ from staging: {reconciliation.differences(rows)}."
    return f"Marts: all {len(rows)} totals of {len({row['mart'] for row in rows})} marts equal staging."


def _steps_table(record: dict[str, Any]) -> Table:
    table = Table(title="Steps", title_justify="left")
    for name in ("step", "status", "seconds", "peak MB"):
        table.add_column(name, justify="right" if name in {"seconds", "peak MB"} else "left")
    for step in record["steps"]:
        seconds = "" if step["seconds"] is None else f"{step['seconds']:.1f}"
        peak = "" if step["peak_rss_mb"] is None else f"{step['peak_rss_mb']:.0f}"
        table.add_row(step["name"], f"{MARKS[step['status']]} {step['status']}", seconds, peak)
    return table


def _rows_tables(rows: list[dict[str, Any]], out: Console) -> list[Table]:
    """Flows and stocks in one table, or in two if the terminal is too narrow for one."""
    combined = _rows_table("Rows: flows of this run, and stocks after it", (*facts.FLOWS, *facts.STOCKS), rows)
    if _width(combined, out) <= out.width:
        return [combined]
    return [
        _rows_table("Rows that this run landed", facts.FLOWS, rows),
        _rows_table("Rows after this run", facts.STOCKS, rows),
    ]


def _width(table: Table, out: Console) -> int:
    """Width of a table without folding."""
    return out.measure(table, options=out.options.update(width=1000)).maximum


def _rows_table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("table")
    for name in columns:
        widest = max(len(_count(row.get(name))) for row in rows)
        table.add_column(name, justify="right", no_wrap=True, min_width=max(widest, len(name)))
    for row in rows:
        table.add_row(str(row["table"]), *(_count(row.get(name)) for name in columns))
    return table


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _code_cells(notebook: Path) -> int:
    import json

    # papermill may add a cell of parameters.
    return sum(cell["cell_type"] == "code" for cell in json.loads(notebook.read_text("utf-8"))["cells"])
