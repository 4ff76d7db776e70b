"""What a person sees of a run in the terminal: a live line a running step, and a summary at the end.

Where there is no terminal, such as in a log, it is plain lines without colours or movement.
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


LONGEST = 300
"""Characters of a record that are shown."""


class Terminal(Console):
    """A console whose reader may leave: ``make pipeline | head`` ends the words, and not the run."""

    def on_broken_pipe(self) -> None:
        """Say no more; what is still said by others goes nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of what is printed, whose control characters do nothing."""
        return super().render_str(visible(text), **options)


def console(stderr: bool = False) -> Console:
    """The terminal, or a log whose lines are wide enough for a table."""
    found = Terminal(stderr=stderr, highlight=False)
    return found if found.is_terminal else Terminal(stderr=stderr, highlight=False, width=120)


def show_table(out: Console, table: Table) -> None:
    """Print a table whose numbers, which stand at the right, are never cut or folded; its texts are folded instead."""
    for column in table.columns:
        is_number = column.justify == "right"
        column.no_wrap, column.overflow = is_number, "fold"
        widest = max(cell_len(str(text)) for text in (column.header, *column.cells))
        column.min_width = widest if is_number else min(widest, TEXT_WIDTH)
    # In a terminal narrower than the numbers are long, lines are wrapped by the terminal.
    out.print(table, crop=False)


TEXT_WIDTH = 8
"""So many characters a column of texts keeps in the narrowest terminal."""


class LiveListener:
    """Shows each running step with its cells and elapsed time, each ended one on a line of its own, and what waits."""

    def __init__(self, out: Console):
        self.out = out
        self.began = False
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
        """The number of steps is known."""
        self.began = True
        self._steps, self._waiting = len(steps), [step.name for step in steps]
        self._progress.update(self._chain, description="[bold]chain", total=len(steps), cell=self._state(0))

    def _state(self, done: float) -> str:
        return f"{done:.0f} of {self._steps}" + (f", waiting: {', '.join(self._waiting)}" if self._waiting else "")

    def step_started(self, step: Step) -> None:
        """A line for the step."""
        cells = _code_cells(step.notebook)
        with self._lock:
            self._tasks[step.name] = self._progress.add_task(step.name, total=cells, cell="")
            self._waiting = [name for name in self._waiting if name != step.name]
            self._progress.update(self._chain, cell=self._state(self._progress.tasks[0].completed))
        if not self.out.is_terminal:
            self.out.print(f"  {step.name} …")

    def cell_started(self, step: Step, cell: int) -> None:
        """The step's line moves on."""
        with self._lock:
            self._progress.update(self._tasks[step.name], completed=cell - 1, cell=f"cell {cell}")

    def step_ended(self, step: Step, entry: dict[str, Any]) -> None:
        """The step's line gives way to its result."""
        with self._lock:
            if step.name in self._tasks:
                self._progress.remove_task(self._tasks.pop(step.name))
            self._progress.advance(self._chain)
            self._progress.update(self._chain, cell=self._state(self._progress.tasks[0].completed))
        self.out.print(f"{MARKS[entry['status']]} {step.name:<18} {entry['seconds'] or 0:6.1f} s")


def show_summary(out: Console, record: dict[str, Any], page: Path) -> None:
    """The steps, the reconciliation of rows and marts, the tests, and where the page is."""
    show_table(out, _steps_table(record))
    for step in record["steps"]:
        if step["status"] == run_archive.SKIPPED and step["error"]:
            out.print(f"{step['name']} was left out: {step['error']}", markup=False, soft_wrap=True)
    if record["tables"]:
        for table in _rows_tables(record["tables"], out):
            # In a terminal narrower than the numbers are long, lines are wrapped by the terminal, and not cut.
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


def show_failure(out: Console, record: dict[str, Any], notebook: Path | None, again: str) -> None:
    """The step, the cell, the error, and what to run next."""
    failed = [step for step in record["steps"] if step["status"] in {run_archive.FAILED, run_archive.INTERRUPTED}]
    where = f"Step {failed[0]['name']} {failed[0]['status']}" if failed else f"The run {record['status']}"
    what = failed[0]["error"] if failed else record["error"]
    out.print(f"{where}: {what}", style="bold red", markup=False, soft_wrap=True)
    if notebook is not None and notebook.exists():
        out.print(f"Look at: {notebook}", markup=False, soft_wrap=True)
    for trouble in record.get("not_told", ()):
        out.print(trouble, markup=False, soft_wrap=True)
    out.print(f"Then go on with: {again}", markup=False, soft_wrap=True)


def show_comparison(out: Console, old: dict[str, Any], new: dict[str, Any], sections: list[Section]) -> None:
    """Two runs beside each other, a table a section."""
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
    """What was erased, where people were looked for, and what is not ours to erase."""
    if erasure.number is None:
        out.print("The history holds these people no more: they had been forgotten before.")
    else:
        told = ", ".join(f"{count:,} of {name}" for name, count in erasure.rows.items())
        out.print(f"Erased from the history, by commit {erasure.number}: {told}.")
    table = Table(title="Looked for them in", title_justify="left")
    for name, justify in (("place", "left"), ("what it holds", "left"), ("found", "right")):
        table.add_column(name, justify=justify)
    for trace in traces:
        table.add_row(trace.place, trace.searched, f"{trace.found:,}", style="bold red" if trace.found else None)
    show_table(out, table)
    if erasure.sources:
        out.print(
            "Still named where their rows came from, which is for its owner to erase; what is landed from there again "
            "does not bring them back:"
        )
        for source in erasure.sources:
            out.print(f"  {source}", markup=False, soft_wrap=True)
    if numbered:
        runs_of = sorted({file.parent for file in numbered})
        out.print(
            f"{len(numbered):,} files of archived runs hold the number that is the customer_id, which may mean these "
            f"people or anything else: delete the folders of such runs where it does, such as {runs_of[0]}.",
            markup=False,
            soft_wrap=True,
        )
    if unreached:
        out.print(
            f"On {' and '.join(unreached)} of your own, deleted rows and objects stay on the disk, and in versions, "
            "backups and logs of writes, for as long as its own rules keep them."
        )
    if erasure.doubts:
        out.print(f"{len(erasure.doubts):,} records that may be theirs were listed at the beginning: read them.")


def show_doubts(out: Console, doubts: list[Doubt]) -> None:
    """List records that may be of people who are forgotten, with the command that erases them too."""
    from duckbook.ops.person_erasure import erase_command

    if not doubts:
        return
    out.print(
        f"{len(doubts):,} records may be of these people, and are left as they are. Read them, for they are not listed "
        "again; for a customer who is the same person, forget that customer_id too:"
    )
    for doubt in doubts:
        of = f"customer {doubt.customer}, " if doubt.customer else ""
        text = doubt.text if len(doubt.text) <= LONGEST else f"{doubt.text[:LONGEST]}…"
        for line in (f"  {doubt.record}  {of}{doubt.why}  ({doubt.source})", f"    {text}"):
            out.print(" ".join(line.split("\n")), markup=False, soft_wrap=True)
    out.print("This erases those that are theirs, once the others are struck out:")
    out.print(f"  {erase_command(doubts)}", markup=False, soft_wrap=True)


def show_parity(out: Console, left: str, right: str, found: list[TableParity]) -> None:
    """Two targets beside each other: a line a table that differs, a few of its rows, and the sum of it all."""
    different = [table for table in found if not table.equal]
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
    counted = f"{len(found)} tables, {sum(table.rows[0] or 0 for table in found):,} rows"
    verdict = f"{len(different)} of them differ" if different else "all equal" if found else "nothing to compare"
    out.print(f"{left} and {right}: {counted}, {verdict}.", markup=False, soft_wrap=True)


def _parity_row(table: TableParity) -> tuple[str, ...]:
    return table.table, *("–" if rows is None else _count(rows) for rows in table.rows), table.summary


def _value(value: str | None) -> str:
    return "null" if value is None else value


def marts_line(rows: list[dict[str, Any]]) -> str:
    """The marts' reconciliation in one line, with the totals that differ."""
    differing = sum(not row["equal"] for row in rows)
    if differing:
        return f"Marts: {differing} of {len(rows)} totals differ from staging: {reconciliation.differences(rows)}."
    return f"Marts: all {len(rows)} totals of {len({row['mart'] for row in rows})} marts equal staging."


def _steps_table(record: dict[str, Any]) -> Table:
    table = Table(title="Steps", title_justify="left")
    for name, justify in (("step", "left"), ("status", "left"), ("seconds", "right"), ("peak MB", "right")):
        table.add_column(name, justify=justify)
    for step in record["steps"]:
        seconds = "" if step["seconds"] is None else f"{step['seconds']:.1f}"
        peak = "" if step["peak_rss_mb"] is None else f"{step['peak_rss_mb']:.0f}"
        table.add_row(step["name"], f"{MARKS[step['status']]} {step['status']}", seconds, peak)
    return table


def _rows_tables(rows: list[dict[str, Any]], out: Console) -> list[Table]:
    """Flows and stocks in one table, or in two where the terminal is too narrow for one: no number is cut."""
    whole = _rows_table("Rows: this run's flows, and the stocks after it", (*facts.FLOWS, *facts.STOCKS), rows)
    if _width(whole, out) <= out.width:
        return [whole]
    return [
        _rows_table("Rows that this run took in", facts.FLOWS, rows),
        _rows_table("Rows that there are after it", facts.STOCKS, rows),
    ]


def _width(table: Table, out: Console) -> int:
    """How many characters a line of a table has where there is room for all of it."""
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

    # The injected parameters are a cell more, at most.
    return sum(cell["cell_type"] == "code" for cell in json.loads(notebook.read_text("utf-8"))["cells"])
