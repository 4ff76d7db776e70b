"""Run steps, each in its own kernel, with limits on time and a record of memory.

Worker threads execute the notebooks. The main thread only watches them, so that it handles a signal at once. While
steps run, the kernel of the next one starts and imports. Steps that do not need each other run in parallel.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from duckbook.errors import ChainError, reason
from duckbook.files import write_private
from duckbook.redaction import Redactor
from duckbook.runs import run_archive
from duckbook.runs.chain import INDEPENDENT, Step
from duckbook.runs.fork_server import ForkServer
from duckbook.runs.kernels import Kernel, imports_of
from duckbook.runs.run_archive import Run
from duckbook.runs.watchdog import Watchdog

POLL_SECONDS = 0.2
"""How often time and memory are checked."""

MAX_PARALLEL = 2
"""Maximum number of parallel steps."""

TIMEOUT = "timeout"
"""Why a kernel was killed: its step exceeded the limit."""


class Listener(Protocol):
    """Callbacks for the progress of a run, such as the terminal's."""

    def run_started(self, steps: list[Step]) -> None:
        """Handle the start of a recorded run."""

    def step_started(self, step: Step) -> None:
        """Handle the start of a step."""

    def cell_started(self, step: Step, cell: int) -> None:
        """Handle the start of a code cell."""

    def step_ended(self, step: Step, entry: dict[str, Any]) -> None:
        """Handle the end of a step; `entry` is that of ``run.json``."""


@dataclass
class _Task:
    step: Step
    starting: Future[Kernel]
    deadline: float
    redactor: Redactor

    @property
    def kernel(self) -> Kernel | None:
        """Its kernel; None while the kernel starts, or if it did not start."""
        return self.starting.result() if self.starting.done() and not self.starting.exception() else None


@dataclass
class Supervisor:
    """Runs the steps of one run.

    Parameters
    ----------
    environment
        The environment of the kernels.
    secrets
        Values to redact. More may be added until the steps begin.
    fork_server
        Server to fork kernels from; None to start them.
    after_step
        Called with the name of each ended step, in a separate thread. The run waits for it at its end.
    parameters
        Parameters of the notebooks, by step.
    poll
        Called repeatedly while steps run. An exception that it raises stops them.
    explain
        Adds what is known of the cause to the error of a step.
    """

    run: Run
    steps: list[Step]
    environment: dict[str, str]
    secrets: list[str]
    listener: Listener
    watchdog: Watchdog
    fork_server: ForkServer | None = None
    after_step: Callable[[str], None] = lambda _name: None
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    poll: Callable[[], None] = lambda: None
    explain: Callable[[str], str] = str
    _warm: dict[str, Future[Kernel]] = field(default_factory=dict)
    # A signal interrupts the main thread only, and must not lose a kernel that has just started.
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _started: list[Future[Kernel]] = field(default_factory=list)
    _is_over: bool = False

    def warm(self) -> None:
        """Start the kernel of the next step in the background."""
        waiting = [step for step in self.steps if self.run.step(step.name)["status"] == run_archive.WAITING]
        if waiting and waiting[0].name not in self._warm:
            self._warm[waiting[0].name] = self._new_kernel(waiting[0])

    def _new_kernel(self, step: Step) -> Future[Kernel]:
        starting = self._starter.submit(self._start_kernel, step)
        self._started.append(starting)
        return starting

    def _start_kernel(self, step: Step) -> Kernel:
        if self._is_over:
            raise ChainError("The run is over.")
        environment = self.environment | {"DUCKBOOK_RUN_STEP": step.name}
        kernel = Kernel(step.notebook.parent, environment, imports_of(step), self.watchdog.watch, self.fork_server)
        if self._is_over:
            kernel.stop()
        return kernel

    def run_steps(self) -> str | None:
        """Run the steps until all are done or one fails; independent steps run even after a failure.

        Returns
        -------
        str or None
            The name of the step that failed first, or None.

        Raises
        ------
        KeyboardInterrupt
            A signal asked the run to stop. The kernels are stopped and the steps marked first.
        """
        failed: list[str] = []
        tasks: dict[Future[str | None], _Task] = {}
        with ThreadPoolExecutor(MAX_PARALLEL) as workers, ThreadPoolExecutor(1) as afterwards:
            try:
                while True:
                    for step in self._startable(len(tasks), has_failed=bool(failed)):
                        task = self._start(step)
                        tasks[workers.submit(self._execute, task)] = task
                    if not failed:
                        self.warm()
                    if not tasks:
                        return failed[0] if failed else None
                    done, _ = wait(tasks, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                    self.poll()
                    for task in tasks.values():
                        self._watch(task)
                    for future in done:
                        task = tasks.pop(future)
                        if self._finish(future, task) not in {run_archive.SUCCEEDED, run_archive.SKIPPED}:
                            failed.append(task.step.name)
                        afterwards.submit(self.after_step, task.step.name)
            except BaseException:
                self._abandon(tasks)
                raise
            finally:
                self.discard()

    def _watch(self, task: _Task) -> None:
        """Record what the kernel of a step uses, and end a step that exceeds its limit."""
        is_late = time.monotonic() > task.deadline
        if task.kernel is not None:
            task.kernel.sample()
            if is_late:
                task.kernel.kill(TIMEOUT)
        elif is_late and self.fork_server is not None:
            # It may wait for another process that parses the project; the kernel is then started.
            self.fork_server.close()

    def _startable(self, running: int, *, has_failed: bool) -> list[Step]:
        """Steps that can start now, because those they need have succeeded or are not in this run."""
        status = {step.name: self.run.step(step.name)["status"] for step in self.steps}
        ready = [
            step
            for step in self.steps
            if status[step.name] == run_archive.WAITING
            and (step.group in INDEPENDENT or not has_failed)
            and all(status.get(n, run_archive.SUCCEEDED) == run_archive.SUCCEEDED for n in step.needs)
        ]
        return ready[: max(0, MAX_PARALLEL - running)]

    def _start(self, step: Step) -> _Task:
        task = _Task(
            step,
            self._warm.pop(step.name) if step.name in self._warm else self._new_kernel(step),
            time.monotonic() + step.timeout,
            Redactor(self.secrets),
        )
        if task.starting.done() and (task.kernel is None or task.kernel.is_dead()):
            self._stop(task.starting)
            task.starting = self._new_kernel(step)
        self.run.step_started(step.name)
        self.listener.step_started(step)
        return task

    def _execute(self, task: _Task) -> str | None:
        from duckbook.runs import execution

        step = task.step
        return execution.execute(
            step.notebook.resolve(),
            (self.run.folder / step.notebook.name).resolve(),
            self.parameters.get(step.name, {}),
            task.starting.result(),
            task.redactor,
            on_cell=lambda cell: self.listener.cell_started(step, cell),
        )

    def _finish(self, future: Future[str | None], task: _Task) -> str:
        status, error = run_archive.SUCCEEDED, None
        failure = future.exception()
        if failure is not None:
            message = reason(failure) if isinstance(failure, OSError) else str(failure)
            status, error = run_archive.FAILED, self.explain(task.redactor.text(message))
        elif (error := future.result()) is not None:
            # The notebook ended early because there are too few data.
            status = run_archive.SKIPPED
        kernel = task.kernel
        if kernel is not None and kernel.kill_reason == TIMEOUT:
            cell = getattr(failure, "cell", None)
            where = f" in cell {cell}" if cell else ""
            error = (
                f"It exceeded its limit of {task.step.timeout:g} s{where}: raise `timeout` in chain.toml, or see why."
            )
        self._redact_reports(task)
        if task.redactor.hits and failure is None:
            status = run_archive.FAILED
            error = "A secret was found in the output and was replaced by ***: do not print it in the notebook."
        if kernel is not None:
            kernel.sample()
        self._end(task, status, error)
        return status

    def _end(self, task: _Task, status: str, error: str | None) -> None:
        self._stop(task.starting)
        usage = task.kernel.usage if task.kernel else {}
        self.run.step_ended(task.step.name, status, error=error, **usage)
        self.listener.step_ended(task.step, self.run.step(task.step.name))

    def _redact_reports(self, task: _Task) -> None:
        for report in (self.run.folder / "facts" / task.step.name).glob("*.json"):
            write_private(report, task.redactor.text(report.read_text("utf-8")))

    def _abandon(self, tasks: dict[Future[str | None], _Task]) -> None:
        self._is_over = True
        if self.fork_server is not None:
            self.fork_server.close()
        for task in tasks.values():
            with contextlib.suppress(Exception):
                task.starting.result(timeout=10).kill("interrupted")
        for future, task in tasks.items():
            cell = None
            with contextlib.suppress(Exception):
                cell = getattr(future.exception(timeout=10), "cell", None)
            self._redact_reports(task)
            self._end(task, run_archive.INTERRUPTED, f"It was stopped in cell {cell}." if cell else "It was stopped.")

    def discard(self) -> None:
        """Stop all kernels, also those that no step used, and start no more."""
        self._is_over = True
        for starting in self._started:
            self._stop(starting)

    @staticmethod
    def _stop(starting: Future[Kernel]) -> None:
        """Stop a kernel, or none if it did not start."""
        with contextlib.suppress(Exception):
            starting.result(timeout=10).stop()
