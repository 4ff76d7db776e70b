"""Refresh the committed outputs of the notebooks from a canonical run.

The canonical run has the default parameters, so a reader sees what `make pipeline` produces, and a temporary data
folder. A committed notebook keeps its source and takes the outputs of the executed one, without what differs between
runs: injected parameters, times and papermill's metadata.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from duckbook.errors import ChainError, SettingError
from duckbook.runs import codebase, run_archive
from duckbook.runs.chain import Step, read_chain
from duckbook.runs.supervisor import Listener
from duckbook.settings import ROOT, Settings, read_settings

LIGHT = ("explore", "learn", "bi", "check")
"""Groups on request that are refreshed with the chain because they take seconds."""

SCIENCE = "science"

PLANTED = "experiment_uplift=0.4"
"""Effect that the experiment of the science notebooks should detect."""


def canonical_environment(folder: Path, customers: int | None = None, planted: str = "") -> dict[str, str]:
    """Return the environment variables of the canonical run.

    Parameters
    ----------
    folder
        An empty folder for the run's data folder and archive.
    customers
        None for the default number.
    planted
        Planted parameters that differ from the defaults.
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
    """Whether a step's committed outputs come from the default run, with which nbval compares them."""
    return not step.on_request or step.group in LIGHT


def is_science(step: Step) -> bool:
    """Whether a step's committed outputs come from the run with a planted effect, which nbval compares separately."""
    return step.group == SCIENCE


def refresh(
    make_listener: Callable[[], AbstractContextManager[Listener]],
    customers: int | None = None,
    *,
    science: bool = False,
) -> Iterator[str]:
    """Execute the canonical run and copy its outputs into the committed notebooks.

    Parameters
    ----------
    make_listener
        Returns the listener that shows the progress of a run.
    customers
        None for the default number.
    science
        Refresh the science notebooks only, instead of the chain and the light groups.

    Yields
    ------
    str
        One line per notebook: whether its outputs changed.

    Raises
    ------
    SettingError
        The settings name external servers, which the canonical run must not touch.
    ChainError
        The run failed, or an output names this machine or run. No notebook is changed.
    """
    from duckbook.backends import servers
    from duckbook.runs.request import Request
    from duckbook.runs.runner import run

    with tempfile.TemporaryDirectory(prefix="duckbook-outputs-") as name:
        os.environ.update(canonical_environment(Path(name), customers, PLANTED if science else ""))
        settings = read_settings()
        if not (settings.embedded_postgres and settings.embedded_s3):
            raise SettingError(
                "The canonical run uses the embedded servers: unset DUCKBOOK_POSTGRES_DSN and DUCKBOOK_S3_*."
            )
        chosen = [step for step in read_chain() if (is_science if science else is_canonical)(step)]
        sources, fresh, traces = codebase.sources(), {}, [name, str(ROOT), "127.0.0.1"]
        try:
            for group in (None, *((SCIENCE,) if science else LIGHT)):
                with make_listener() as listener:
                    record = run(settings, Request(only=group), listener)
                if record.record["status"] != run_archive.SUCCEEDED:
                    raise ChainError(f"The canonical run failed, so no output was refreshed. {record.record['error']}")
                traces.append(record.record["run_id"])
                for notebook in (step.notebook for step in chosen):
                    if (record.folder / notebook.name).exists():
                        fresh[notebook] = _fresh(notebook, record.folder, sources[notebook.name])
            for notebook, text in fresh.items():
                _refuse_traces(notebook, text, traces)
        finally:
            servers.down(settings)
    for notebook, text in fresh.items():
        changed = notebook.read_text("utf-8") != text
        if changed:
            notebook.write_text(text, "utf-8")
        yield f"{notebook.name}: {'refreshed' if changed else 'unchanged'}"


def _fresh(notebook: Path, run_folder: Path, sources: dict[str, str]) -> str:
    """Return the text of the committed notebook with the outputs of the executed one and the checksums of its code."""
    import nbformat

    committed = nbformat.read(notebook, as_version=4)
    executed = {cell["id"]: cell for cell in nbformat.read(run_folder / notebook.name, as_version=4).cells}
    # Count as Run All Cells does in a new kernel. nbval skips cells without a count.
    for count, cell in enumerate((cell for cell in committed.cells if cell.cell_type == "code"), start=1):
        cell.outputs, cell.execution_count = executed[cell["id"]].outputs, count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    committed.metadata[codebase.METADATA_KEY] = sources
    return f"{nbformat.writes(committed, indent=1)}\n"


def _refuse_traces(notebook: Path, text: str, traces: list[str]) -> None:
    for trace in traces:
        if trace in text:
            raise ChainError(
                f"An output of {notebook.name} contains {trace!r}, which differs by run or machine: do not show it."
            )
