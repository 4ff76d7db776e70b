"""Carrying out steps: each in a kernel of its own, watched for its time and memory, and stopped when it must be.

Notebooks are executed in worker threads; the main thread only watches, so that a signal reaches it at once. While steps
run, the kernel of the next one starts and imports. Steps that do not need each other run side by side.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from duckbook.errors import reason
from duckbook.files import write_private
from duckbook.redaction import Redactor
from duckbook.runs import run_archive
from duckbook.runs.chain import APART, Step
from duckbook.runs.fork_server import Zygote
from duckbook.runs.kernels import Kernel, imports_of
from duckbook.runs.run_archive import Run
from duckbook.runs.watchdog import Witness

# How often the watcher looks at time and memory, in seconds.
TICK = 0.2

PAST_ITS_LIMIT = "past its limit"


class Listener(Protocol):
    """Who is told how the run goes on, such as the terminal."""

    def run_started(self, steps: list[Step]) -> None:
        """The run is recorded and about to begin."""

    def step_started(self, step: Step) -> None:
        """A step begins."""

    def cell_started(self, step: Step, cell: int) -> None:
        """A code cell of the step begins."""

    def step_ended(self, step: Step, entry: dict[str, Any]) -> None:
        """A step ended as its entry in ``run.json`` says."""


@dataclass
class _Work:
    step: Step
    kernel: Kernel
    deadline: float
    redactor: Redactor


@dataclass
class Supervisor:
    """Carries out the steps of one run.

    Parameters
    ----------
    run
        The record that is kept.
    steps
        The steps to do, in order.
    environment
        The environment of the kernels.
    secrets
        Values that must not be written; they may be completed until the steps begin.
    listener
        Who is told.
    witness
        Who is told of each kernel.
    zygote
        Where kernels are split off; None to start each the ordinary way.
    after_step
        Called in a thread of its own when a step has ended, with its name; the run waits for it at its end.
    abreast
        How many steps may run side by side.
    see
        Called again and again while steps run; what it raises stops them.
    explain
        Adds to the error of a step what is known of its cause.
    """

    run: Run
    steps: list[Step]
    environment: dict[str, str]
    secrets: list[str]
    listener: Listener
    witness: Witness
    zygote: Zygote | None = None
    after_step: Callable[[str], None] = lambda _name: None
    abreast: int = 2
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    see: Callable[[], None] = lambda: None
    explain: Callable[[str], str] = str
    _warm: dict[str, Kernel] = field(default_factory=dict)

    def get_ready(self) -> None:
        """Import what executes notebooks and what asks S3: half a second, to be spent while servers start."""
        from duckbook.backends import storage

        storage.preload()

    def warm(self) -> None:
        """Begin to start the kernel of the next step, so that it is ready when the step is."""
        waiting = [step for step in self.steps if self.run.step(step.name)["status"] == run_archive.WAITING]
        if waiting and waiting[0].name not in self._warm:
            self._warm[waiting[0].name] = self._new_kernel(waiting[0])

    def _new_kernel(self, step: Step) -> Kernel:
        of_the_step = self.environment | {"DUCKBOOK_RUN_STEP": step.name}
        return Kernel(step.notebook.parent, of_the_step, imports_of(step), self.witness.watch, self.zygote)

    def carry_out(self) -> str | None:
        """Do the steps until they are done or one fails; steps that only read what is published go on all the same.

        Returns
        -------
        str or None
            The name of the step that failed first, None when all succeeded.

        Raises
        ------
        KeyboardInterrupt
            A signal asked to stop: the kernels are stopped and the steps marked before it is raised again.
        """
        failed: list[str] = []
        at_work: dict[Future, _Work] = {}
        with ThreadPoolExecutor(self.abreast) as workers, ThreadPoolExecutor(1) as afterwards:
            try:
                while True:
                    for step in self._startable(len(at_work), after_a_failure=bool(failed)):
                        work = self._start(step)
                        at_work[workers.submit(self._execute, work)] = work
                    if not failed:
                        self.warm()
                    if not at_work:
                        return failed[0] if failed else None
                    done, _ = wait(at_work, timeout=TICK, return_when=FIRST_COMPLETED)
                    self.see()
                    for work in at_work.values():
                        work.kernel.sample()
                        if time.monotonic() > work.deadline:
                            work.kernel.kill(PAST_ITS_LIMIT)
                    for future in done:
                        work = at_work.pop(future)
                        if self._finish(future, work) not in {run_archive.SUCCEEDED, run_archive.SKIPPED}:
                            failed.append(work.step.name)
                        afterwards.submit(self.after_step, work.step.name)
            except BaseException:
                self._abandon(at_work)
                raise
            finally:
                self.discard()

    def _startable(self, busy: int, *, after_a_failure: bool) -> list[Step]:
        """The steps that can begin now: those that they need, if part of this run, have succeeded."""
        status = {step.name: self.run.step(step.name)["status"] for step in self.steps}
        ready = [
            step
            for step in self.steps
            if status[step.name] == run_archive.WAITING
            and (step.group in APART or not after_a_failure)
            and all(status.get(n, run_archive.SUCCEEDED) == run_archive.SUCCEEDED for n in step.needs)
        ]
        return ready[: max(0, self.abreast - busy)]

    def _start(self, step: Step) -> _Work:
        kernel = self._warm.pop(step.name, None)
        if kernel is not None and kernel.is_dead():
            kernel.stop()
            kernel = None
        kernel = kernel or self._new_kernel(step)
        self.run.step_started(step.name)
        self.listener.step_started(step)
        return _Work(step, kernel, time.monotonic() + step.timeout, Redactor(self.secrets))

    def _execute(self, work: _Work) -> str | None:
        from duckbook.runs import execution

        step = work.step
        return execution.execute(
            step.notebook.resolve(),
            (self.run.folder / step.notebook.name).resolve(),
            self.parameters.get(step.name, {}),
            work.kernel,
            work.redactor,
            on_cell=lambda cell: self.listener.cell_started(step, cell),
        )

    def _finish(self, future: Future, work: _Work) -> str:
        status, error = run_archive.SUCCEEDED, None
        failure = future.exception()
        if failure is not None:
            said = reason(failure) if isinstance(failure, OSError) else str(failure)
            status, error = run_archive.FAILED, self.explain(work.redactor.text(said))
        elif (error := future.result()) is not None:
            # Its data are not enough: it says so, and nothing failed.
            status = run_archive.SKIPPED
        if work.kernel.killed_because == PAST_ITS_LIMIT:
            cell = getattr(failure, "cell", None)
            where = f" in cell {cell}" if cell else ""
            error = (
                f"It ran past its limit of {work.step.timeout:g} s{where}: raise `timeout` in chain.toml, or see why."
            )
        self._clean_reports(work)
        if work.redactor.hits and failure is None:
            status = run_archive.FAILED
            error = "A secret was on its way into the archive and was replaced by ***: do not print it in the notebook."
        work.kernel.sample()
        work.kernel.stop()
        self.run.step_ended(work.step.name, status, error=error, **work.kernel.usage)
        self.listener.step_ended(work.step, self.run.step(work.step.name))
        return status

    def _clean_reports(self, work: _Work) -> None:
        for report in (self.run.folder / "facts" / work.step.name).glob("*.json"):
            write_private(report, work.redactor.text(report.read_text("utf-8")))

    def _abandon(self, at_work: dict[Future, _Work]) -> None:
        for work in at_work.values():
            work.kernel.kill("interrupted")
        for future, work in at_work.items():
            cell = None
            with contextlib.suppress(Exception):
                cell = getattr(future.exception(timeout=10), "cell", None)
            work.kernel.stop()
            self._clean_reports(work)
            error = f"It was stopped in cell {cell}." if cell else "It was stopped."
            self.run.step_ended(work.step.name, run_archive.INTERRUPTED, error=error, **work.kernel.usage)
            self.listener.step_ended(work.step, self.run.step(work.step.name))

    def discard(self) -> None:
        """Stop kernels that were warmed and are not needed."""
        while self._warm:
            self._warm.popitem()[1].stop()
