"""Executing one notebook with papermill, and telling the truth about it.

papermill parameterizes the notebook, saves it as it goes and marks the failing cell. What it does not do is done here:
a cell that never ran, or was running when its kernel died, is not called completed; a failing ``%sql`` cell, which
leaves no error output, fails the notebook with its own text; secrets are replaced before anything is saved; a file is
saved whole or not at all. Trust the exception that `execute` raises, and the notebook agrees with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellExecutionComplete, CellExecutionError, DeadKernelError
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from duckbook.analysis.exploration import escape_markdown
from duckbook.errors import ChainError, NotEnough
from duckbook.files import write_private
from duckbook.redaction import Redactor
from duckbook.runs.kernels import Kernel

ENGINE = "duckbook"

PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"

REPLY_SECONDS = 10
"""So long after a kernel is idle again its reply has come or is lost: an interrupt of ipykernel's own code drops it."""

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class CellFailed(ChainError):
    """A cell of a notebook failed, or its kernel ended while it ran.

    Attributes
    ----------
    cell
        The number of the cell in the notebook, counted from 1, or None when none was running.
    reason
        The error as a sentence.
    """

    def __init__(self, cell: int | None, reason: str):
        self.cell = cell
        self.reason = reason
        super().__init__(f"cell {cell}: {reason}" if cell else reason)


class TruthfulManager(NotebookExecutionManager):
    """papermill's keeper of cell states, which also tells what did not happen, and saves without secrets."""

    def __init__(self, nb, redactor: Redactor, on_cell=None, **kwargs):
        super().__init__(nb, progress_bar=False, **kwargs)
        self.redactor = redactor
        self.on_cell = on_cell
        self.running: int | None = None
        self.failure: CellFailed | None = None
        self.left_out: str | None = None

    def save(self, **kwargs) -> None:
        """Save whole or not at all, for the owner alone."""
        if kwargs.get("nb"):
            self.nb = kwargs["nb"]
        if self.output_path:
            # papermill writes the notebook again by itself at the end, so the notebook in memory is what is cleaned.
            self.redactor.scrub(self.nb)
            # In one line, which takes a fifth of the time; what papermill writes at the end has many.
            write_private(Path(self.output_path), json.dumps(self.nb, ensure_ascii=False) + "\n")
        self.last_save_time = self.now()

    def cell_start(self, cell, cell_index=None, **kwargs) -> None:
        """A text is not executed and needs no saving."""
        if cell.cell_type != "code":
            return
        self.running = cell_index
        if self.on_cell:
            self.on_cell(self._code_number(cell_index))
        super().cell_start(cell, cell_index, **kwargs)

    def cell_complete(self, cell, cell_index=None, **kwargs) -> None:
        """Called for a killed cell too: only one whose kernel answered is completed."""
        if cell.cell_type != "code":
            cell.metadata.papermill["status"] = COMPLETED
        elif self.running is None:
            # It is saved with the start of the next cell, or the end of the notebook, which follows at once.
            path, self.output_path = self.output_path, None
            super().cell_complete(cell, cell_index, **kwargs)
            self.output_path = path

    def notebook_complete(self, **kwargs) -> None:
        """Mark the cell that was running as failed; leave those never run pending."""
        if self.running is not None:
            self.cell_exception(self.nb.cells[self.running])
        self.end_time = self.now()
        paper = self.nb.metadata.papermill
        paper["end_time"] = self.end_time.isoformat()
        paper["duration"] = (self.end_time - self.start_time).total_seconds()
        # The archive can be moved, and is nobody's business but the reader's: names instead of a machine's paths.
        for side in ("input_path", "output_path"):
            paper[side] = Path(paper[side]).name if paper.get(side) else None
        self.save()

    def failed(self, reason: str) -> CellFailed:
        """Note that the running cell failed, and give the error to raise."""
        number = None if self.running is None else self._code_number(self.running)
        self.failure = CellFailed(number, self.redactor.text(reason))
        return self.failure

    def leave_out(self, index: int, sentence: str) -> None:
        """Put the sentence by which the cell ends the notebook in the place of its error; later cells stay pending."""
        cell, self.left_out, self.running = self.nb.cells[index], self.redactor.text(sentence), None
        words = {"text/markdown": f"**Left out.** {escape_markdown(self.left_out)}", "text/plain": self.left_out}
        cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
        cell.outputs.append(new_output("display_data", words))
        self.cell_complete(cell, cell_index=index)

    def _code_number(self, index: int) -> int:
        return sum(cell.cell_type == "code" for cell in self.nb.cells[: index + 1])


class Client(PapermillNotebookClient):
    """papermill's client on a kernel that is already there; it keeps the failure that papermill swallows."""

    has_lost_reply = False

    def process_message(self, msg, cell, cell_index) -> Any:
        """Wait for a reply no longer than `REPLY_SECONDS` once the kernel has done what it was asked."""
        try:
            return super().process_message(msg, cell, cell_index)
        except CellExecutionComplete:
            asyncio.get_running_loop().call_later(REPLY_SECONDS, self._give_up, self.task_poll_for_reply)
            raise

    def _give_up(self, reply: asyncio.Future) -> None:
        # Done, it cannot be cancelled. nbclient takes a wait that is cancelled for a dead kernel.
        self.has_lost_reply = self.has_lost_reply or reply.cancel()

    def papermill_execute_cells(self) -> None:
        """Execute the cells in order until one fails."""
        manager: TruthfulManager = self.nb_man
        for index, cell in enumerate(self.nb.cells):
            manager.cell_start(cell, index)
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                if error.ename == NotEnough.__name__:
                    manager.leave_out(index, ANSI.sub("", error.evalue))
                    return
                manager.failed(_sentence(error))
                manager.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                manager.running = None
                manager.cell_complete(self.nb.cells[index], cell_index=index)
                return
            except DeadKernelError:
                lost = "The kernel was interrupted, and what came of the cell was lost."
                raise manager.failed(lost if self.has_lost_reply else "The kernel died.") from None
            manager.running = None
            manager.cell_complete(self.nb.cells[index], cell_index=index)

    def execute(self, **kwargs) -> Any:
        """Execute the notebook, and close this side's sockets however that ends."""
        try:
            return super().execute(cleanup_kc=False, **kwargs)
        finally:
            if self.kc is not None:
                self.kc.stop_channels()


class Engine(NBClientEngine):
    """The engine by which papermill executes our notebooks."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, output_path=None, **kwargs):
        """Execute a parameterized notebook with the kernel, redactor and listener in `kwargs`."""
        kernel: Kernel = kwargs.pop("kernel")
        manager = TruthfulManager(
            nb, kwargs.pop("redactor"), kwargs.pop("on_cell"), output_path=output_path, autosave_cell_every=10
        )
        manager.notebook_start()
        try:
            Client(manager, km=kernel.ready(), startup_timeout=60, timeout=None, log=_SILENT).execute()
        except RuntimeError as error:
            # Said of a kernel that ends, or does not answer, before its first cell.
            raise manager.failed(f"The kernel failed: {error}") from None
        finally:
            manager.notebook_complete()
        if manager.failure is not None:
            kwargs["failures"].append(manager.failure)
        if manager.left_out is not None:
            kwargs["left_out"].append(manager.left_out)
        return manager.nb


_SILENT = logging.getLogger("duckbook.runs.execution")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
logging.getLogger("papermill").setLevel(logging.ERROR)
papermill_engines.register(ENGINE, Engine)


def execute(
    notebook: Path, output: Path, parameters: dict[str, Any], kernel: Kernel, redactor: Redactor, on_cell=None
) -> str | None:
    """Execute a notebook and save it, executed, as `output`.

    Parameters
    ----------
    notebook, output
        The notebook, which is not changed, and where its executed copy goes; both absolute.
    parameters
        Values for its parameters cell; it is checked before that the notebook has them.
    kernel
        A fresh kernel; the caller stops it.
    redactor
        What must not be written.
    on_cell
        Called with the number of each code cell that begins.

    Returns
    -------
    str or None
        Why the notebook ended early, where it says of the data that they are not enough (`NotEnough`).

    Raises
    ------
    CellFailed
        A cell failed or the kernel died; `kernel.killed_because` says so where it was killed on purpose.
    """
    failures: list[CellFailed] = []
    left_out: list[str] = []
    write_private(output, "{}")
    try:
        execute_notebook(
            _plain(notebook),
            _plain(output),
            parameters=parameters,
            engine_name=ENGINE,
            progress_bar=False,
            kernel=kernel,
            redactor=redactor,
            on_cell=on_cell,
            failures=failures,
            left_out=left_out,
        )
    except PapermillExecutionError as error:
        raise (failures or [CellFailed(None, redactor.text(str(error)))])[0] from None
    if failures:
        raise failures[0]
    return left_out[0] if left_out else None


def _plain(path: Path) -> str:
    """A path that papermill takes as it stands: it fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _sentence(error: CellExecutionError) -> str:
    """What the cell said, without the cell's source and the library's lines: the name of the error and its text."""
    text = ANSI.sub("", str(error.evalue or "")).strip()
    if "Original error message from DB driver:" in text:
        # jupysql puts advice on its own features before what the database said.
        text = text.split("Original error message from DB driver:", 1)[1].strip()
        return text
    return f"{error.ename}: {text}" if text else str(error.ename)
