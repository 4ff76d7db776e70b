"""Execute one notebook with papermill.

papermill parameterizes the notebook, saves it as it goes and marks the failing cell. This module adds what papermill
lacks: cells that never ran or whose kernel died are not marked completed; a failing ``%sql`` cell, which leaves no
error output, fails the notebook with its message; secrets are redacted before each save; saves are atomic. The saved
notebook always agrees with the exception that `execute` raises.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellExecutionComplete, CellExecutionError, DeadKernelError
from nbformat import NotebookNode
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

START_SECONDS = 120
"""How long a kernel may take to start and import, unless it ends before."""

REPLY_SECONDS = 10
"""How long to wait for the reply of an idle kernel: an interrupt inside ipykernel's own code loses the reply."""

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class CellFailed(ChainError):
    """A cell of a notebook failed, or its kernel ended while it ran.

    Attributes
    ----------
    cell
        The number of the code cell, counted from 1, or None when none was running.
    """

    def __init__(self, cell: int | None, reason: str):
        self.cell = cell
        super().__init__(f"cell {cell}: {reason}" if cell else reason)


class ExecutionManager(NotebookExecutionManager):
    """Execution manager that redacts secrets and does not complete cells that failed or never ran."""

    output_path: str | None

    def __init__(
        self, nb: NotebookNode, redactor: Redactor, on_cell: Callable[[int], None] | None = None, **kwargs: Any
    ):
        super().__init__(nb, progress_bar=False, **kwargs)
        self.redactor = redactor
        self.on_cell = on_cell
        self.running: int | None = None
        self.failure: CellFailed | None = None
        self.skip_reason: str | None = None

    def save(self, **kwargs: Any) -> None:
        """Redact secrets and save atomically, readable by the owner only."""
        if kwargs.get("nb"):
            self.nb = kwargs["nb"]
        if self.output_path:
            # Redact in memory, because papermill writes the notebook once more at the end.
            self.redactor.scrub(self.nb)
            # One line takes a fifth of the time; papermill's last save is indented.
            write_private(Path(self.output_path), json.dumps(self.nb, ensure_ascii=False) + "\n")
        self.last_save_time = self.now()

    def cell_start(self, cell: NotebookNode, cell_index: int = 0, **kwargs: Any) -> None:
        """Record the start of a code cell; ignore text cells."""
        if cell.cell_type != "code":
            return
        self.running = cell_index
        if self.on_cell:
            self.on_cell(self._code_number(cell_index))
        super().cell_start(cell, cell_index, **kwargs)

    def cell_complete(self, cell: NotebookNode, cell_index: int = 0, **kwargs: Any) -> None:
        """Mark a cell completed, unless its kernel never answered: papermill calls this for killed cells too."""
        if cell.cell_type != "code":
            cell.metadata.papermill["status"] = self.COMPLETED
        elif self.running is None:
            # Skip this save: the next cell's start, or the notebook's end, saves at once.
            path, self.output_path = self.output_path, None
            super().cell_complete(cell, cell_index, **kwargs)
            self.output_path = path

    def notebook_complete(self, **kwargs: Any) -> None:
        """Mark the cell that was running as failed; leave those never run pending."""
        if self.running is not None:
            self.cell_exception(self.nb.cells[self.running])
        self.end_time = self.now()
        paper = self.nb.metadata.papermill
        paper["end_time"] = self.end_time.isoformat()
        paper["duration"] = (self.end_time - self.start_time).total_seconds()
        # Names only, because paths reveal the machine and break when the archive is moved.
        for side in ("input_path", "output_path"):
            paper[side] = Path(paper[side]).name if paper.get(side) else None
        self.save()

    def failed(self, reason: str) -> CellFailed:
        """Record that the running cell failed, and return the error to raise."""
        number = None if self.running is None else self._code_number(self.running)
        self.failure = CellFailed(number, self.redactor.text(reason))
        return self.failure

    def skip_rest(self, index: int, reason: str) -> None:
        """End the notebook at a cell and show the reason in place of its error; later cells stay pending."""
        cell, self.skip_reason, self.running = self.nb.cells[index], self.redactor.text(reason), None
        data = {"text/markdown": f"**Skipped.** {escape_markdown(self.skip_reason)}", "text/plain": self.skip_reason}
        cell.outputs = [output for output in cell.outputs if output.output_type != "error"]
        cell.outputs.append(new_output("display_data", data))
        self.cell_complete(cell, cell_index=index)

    def _code_number(self, index: int) -> int:
        return sum(cell.cell_type == "code" for cell in self.nb.cells[: index + 1])


class Client(PapermillNotebookClient):
    """Client for a running kernel that keeps the failure which papermill swallows."""

    has_lost_reply = False

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """Wait at most `REPLY_SECONDS` for the reply once the cell has completed."""
        try:
            return super().process_message(msg, cell, cell_index)
        except CellExecutionComplete:
            asyncio.get_running_loop().call_later(REPLY_SECONDS, self._give_up, self.task_poll_for_reply)
            raise

    def _give_up(self, reply: asyncio.Future[Any]) -> None:
        # False if the reply came. nbclient treats a cancelled wait as a dead kernel.
        self.has_lost_reply = self.has_lost_reply or reply.cancel()

    def papermill_execute_cells(self) -> None:
        """Execute the cells in order until one fails."""
        manager: ExecutionManager = self.nb_man
        for index, cell in enumerate(self.nb.cells):
            manager.cell_start(cell, index)
            try:
                self.execute_cell(cell, index)
            except CellExecutionError as error:
                if error.ename == NotEnough.__name__:
                    manager.skip_rest(index, ANSI.sub("", error.evalue))
                    return
                manager.failed(_sentence(error))
                manager.cell_exception(self.nb.cells[index], cell_index=index, exception=error)
                manager.running = None
                manager.cell_complete(self.nb.cells[index], cell_index=index)
                return
            except DeadKernelError:
                lost = "The kernel was interrupted, and the result of the cell was lost."
                raise manager.failed(lost if self.has_lost_reply else "The kernel died.") from None
            manager.running = None
            manager.cell_complete(self.nb.cells[index], cell_index=index)

    def execute(self, **kwargs: Any) -> Any:
        """Execute the notebook, and close the client's sockets."""
        try:
            return super().execute(cleanup_kc=False, **kwargs)
        finally:
            if self.kc is not None:
                self.kc.stop_channels()


class Engine(NBClientEngine):
    """papermill engine that runs a notebook in a kernel given to it."""

    @classmethod
    def execute_notebook(
        cls, nb: NotebookNode, kernel_name: str, output_path: str | None = None, **kwargs: Any
    ) -> NotebookNode:
        """Execute a parameterized notebook with the kernel, redactor and listener in `kwargs`."""
        kernel: Kernel = kwargs.pop("kernel")
        manager = ExecutionManager(
            nb, kwargs.pop("redactor"), kwargs.pop("on_cell"), output_path=output_path, autosave_cell_every=10
        )
        manager.notebook_start()
        try:
            Client(manager, km=kernel.manager, startup_timeout=START_SECONDS, timeout=None, log=_SILENT).execute()
        except RuntimeError as error:
            # The kernel ended, or did not answer, before the first cell.
            raise manager.failed(f"The kernel failed: {error}") from None
        finally:
            manager.notebook_complete()
        if manager.failure is not None:
            kwargs["failures"].append(manager.failure)
        if manager.skip_reason is not None:
            kwargs["skip_reasons"].append(manager.skip_reason)
        executed: NotebookNode = manager.nb
        return executed


_SILENT = logging.getLogger("duckbook.runs.execution")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
logging.getLogger("papermill").setLevel(logging.ERROR)
papermill_engines.register(ENGINE, Engine)


def execute(
    notebook: Path,
    output: Path,
    parameters: dict[str, Any],
    kernel: Kernel,
    redactor: Redactor,
    on_cell: Callable[[int], None] | None = None,
) -> str | None:
    """Execute a notebook and save the executed copy.

    Parameters
    ----------
    notebook, output
        Absolute paths of the notebook and of its executed copy.
    parameters
        Values for its parameters cell, which the notebook must have.
    kernel
        A fresh kernel. The caller stops it.
    redactor
        Redacts secrets before each save.
    on_cell
        Called with the number of each code cell that starts.

    Returns
    -------
    str or None
        Why the notebook ended early, if it raised `NotEnough`.

    Raises
    ------
    CellFailed
        A cell failed or the kernel died; `kernel.kill_reason` is set if it was killed on purpose.
    """
    failures: list[CellFailed] = []
    skip_reasons: list[str] = []
    write_private(output, "{}")
    try:
        execute_notebook(
            _escaped(notebook),
            _escaped(output),
            parameters=parameters,
            engine_name=ENGINE,
            progress_bar=False,
            kernel=kernel,
            redactor=redactor,
            on_cell=on_cell,
            failures=failures,
            skip_reasons=skip_reasons,
        )
    except PapermillExecutionError as error:
        raise (failures or [CellFailed(None, redactor.text(str(error)))])[0] from None
    if failures:
        raise failures[0]
    return skip_reasons[0] if skip_reasons else None


def _escaped(path: Path) -> str:
    """Escape braces in a path, which papermill formats with the parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _sentence(error: CellExecutionError) -> str:
    """Name and message of an error, without the traceback."""
    text = ANSI.sub("", str(error.evalue or "")).strip()
    if "Original error message from DB driver:" in text:
        # jupysql puts hints before the database's message.
        return text.split("Original error message from DB driver:", 1)[1].strip()
    return f"{error.ename}: {text}" if text else str(error.ename)
