"""The committed outputs of the notebooks: those of the default run, refreshed by running it again.

The run has the default parameters, so that a reader sees what `make pipeline` makes, and a store of its own that is
thrown away. A committed
notebook keeps its own source and takes the outputs of the executed one, without what differs from run to run: injected
parameters, times, and papermill's notes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from duckbook.errors import ChainError, SettingError
from duckbook.runs import run_archive, staleness
from duckbook.runs.chain import CHAIN_FILE, Step, read_chain
from duckbook.runs.supervisor import Listener
from duckbook.settings import ROOT, Settings, read_settings

LIGHT = ("explore", "learn", "bi", "check")
"""Groups on request whose notebooks are held with the chain: they cost it seconds."""

SCIENCE = "science"
PLANTED = "experiment_uplift=0.4"
"""The group that wants libraries of its own, and an effect for its experiment to find."""


def canonical_environment(folder: Path, customers: int | None = None, planted: str = "") -> dict[str, str]:
    """The environment of the canonical run.

    Parameters
    ----------
    folder
        An empty folder that the run may fill: its store and its archive.
    customers
        None: as many as by default.
    planted
        Planted parameters to change.
    """
    defaults = Settings.model_fields
    return {
        "DUCKBOOK_DATA": str(folder / "data"),
        "DUCKBOOK_RUNS": str(folder / "runs"),
        "DUCKBOOK_TARGET": "duckdb",
        "DUCKBOOK_CUSTOMERS": str(customers or defaults["customers"].default),
        "DUCKBOOK_SEED": str(defaults["seed"].default),
        "DUCKBOOK_DIRT": str(defaults["dirt"].default),
        "DUCKBOOK_PLANTED": planted,
        "DUCKBOOK_FIRST_AS_OF": defaults["first_as_of"].default.isoformat(),
    }


def is_canonical(step: Step) -> bool:
    """Whether the committed outputs of a step are those of the default run, and nbval compares them."""
    return not step.on_request or step.group in LIGHT


def is_science(step: Step) -> bool:
    """Whether the committed outputs of a step are those of the run with an effect in it, which nbval compares apart."""
    return step.group == SCIENCE


def refresh(
    listening: Callable[[], AbstractContextManager[Listener]],
    customers: int | None = None,
    *,
    science: bool = False,
) -> Iterator[str]:
    """Run the canonical run and take its outputs into the notebooks.

    Parameters
    ----------
    listening
        Makes what shows the progress of a run.
    customers
        None: as many as by default.
    science
        Whether the notebooks are those of data science, and only they; else those of the chain, and the light ones on
        request.

    Yields
    ------
    str
        A line for each notebook: whether its outputs changed.

    Raises
    ------
    SettingError
        Settings name servers of a person's own, which the canonical run must not touch.
    ChainError
        The run failed, or an output holds something of this machine; no notebook is changed then.
    """
    from duckbook.backends import servers
    from duckbook.runs.request import Request
    from duckbook.runs.runner import run

    with tempfile.TemporaryDirectory(prefix="duckbook-outputs-") as name:
        store = Path(name)
        os.environ.update(canonical_environment(store, customers, PLANTED if science else ""))
        settings = read_settings()
        if not (settings.embedded_postgres and settings.embedded_s3):
            raise SettingError(
                "The canonical run takes the embedded servers: unset DUCKBOOK_POSTGRES_DSN and DUCKBOOK_S3_*."
            )
        steps = read_chain(CHAIN_FILE)
        done = [step for step in steps if (is_science(step) if science else is_canonical(step))]
        groups = [group for group in ((SCIENCE,) if science else LIGHT) if any(step.group == group for step in done)]
        executed, traces = {}, [name, str(ROOT), "127.0.0.1"]
        try:
            for request in (Request(), *(Request(only=group) for group in groups)):
                with listening() as listener:
                    record = run(settings, request, listener)
                if record.record["status"] != run_archive.SUCCEEDED:
                    raise ChainError(f"The canonical run failed, so no output was taken. {record.record['error']}")
                executed |= {s: record.folder for s in done if (record.folder / s.notebook.name).exists()}
                traces.append(record.record["run_id"])
            fresh = {s.notebook: _signed(_fresh(s.notebook, folder), s, steps) for s, folder in executed.items()}
            for notebook, text in fresh.items():
                _refuse_traces(notebook, text, traces)
        finally:
            servers.down(settings)
    for notebook, text in fresh.items():
        changed = notebook.read_text("utf-8") != text
        if changed:
            notebook.write_text(text, "utf-8")
        yield f"{notebook.name}: {'refreshed' if changed else 'as it was'}"


def _fresh(notebook: Path, run_folder: Path) -> str:
    """The committed notebook with the outputs of the executed one."""
    import nbformat

    committed = nbformat.read(notebook, as_version=4)
    executed = {cell["id"]: cell for cell in nbformat.read(run_folder / notebook.name, as_version=4).cells}
    # Counted as Run All Cells counts in a fresh kernel: nbval takes a cell without a count for one that never ran.
    for count, cell in enumerate((cell for cell in committed.cells if cell.cell_type == "code"), start=1):
        cell.outputs = [_numbered(output, count) for output in executed[cell["id"]].outputs]
        cell.execution_count = count
    return nbformat.writes(committed, indent=1) + "\n"


def _signed(text: str, step: Step, steps: list[Step]) -> str:
    """The text of a notebook with the sums of what its outputs come of, by which stale ones are told."""
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    notebook.metadata[staleness.KEY] = staleness.sources(step, steps)
    return nbformat.writes(notebook, indent=1) + "\n"


def _numbered(output: Any, count: int) -> Any:
    """An output with the count of its cell, where it has one."""
    if "execution_count" in output:
        output.execution_count = count
    return output


def _refuse_traces(notebook: Path, text: str, traces: list[str]) -> None:
    for trace in traces:
        if trace in text:
            raise ChainError(
                f"An output of {notebook.name} holds {trace!r}, which differs by run or machine: do not show it."
            )
