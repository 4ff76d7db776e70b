"""How the benchmarks measure: whole processes in data folders of their own, and the memory of each process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil
from duckbook.settings import ROOT

BIN = Path(sys.executable).parent
DUCKBOOK = str(BIN / "duckbook")
SAMPLE_SECONDS = 0.2
LAYERS = ("staging", "intermediate", "marts")


@dataclass(frozen=True)
class Timing:
    """One run of a command: wall seconds, the peak memory of its largest process in MB, and what it printed."""

    seconds: float
    peak_mb: float
    printed: str


class Figures:
    """The figures of a benchmark: a row is a median of whole processes, with its ratio to a reference."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(
        self, name: str, size: str, timings: list[Timing], reference: tuple[str, float] | None = None, rows: int = 0
    ) -> None:
        """Add the median of `timings`; `reference` is a name and its seconds, `rows` what was handled."""
        from statistics import median

        seconds = median(timing.seconds for timing in timings)
        self.rows.append(
            {
                "name": name,
                "size": size,
                "seconds": round(seconds, 2),
                "rows_per_second": round(rows / seconds) if rows else None,
                "reference": reference[0] if reference else None,
                "ratio": float(f"{seconds / reference[1]:.3g}") if reference else None,
                "peak_mb": round(max(timing.peak_mb for timing in timings)),
            }
        )


@contextlib.contextmanager
def fresh_shop(**settings: object) -> Iterator[dict[str, str]]:
    """Yield the environment of an empty data folder, and stop its servers afterwards."""
    with tempfile.TemporaryDirectory(prefix="duckbook-bench-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DUCKBOOK_")}
        environment |= {"DUCKBOOK_DATA": f"{folder}/data", "DUCKBOOK_RUNS": f"{folder}/runs"}
        environment |= {f"DUCKBOOK_{name.upper()}": str(value) for name, value in settings.items()}
        try:
            yield environment
        finally:
            subprocess.run([DUCKBOOK, "down"], env=environment, check=False, capture_output=True)


def timed(commands: list[list[str]], environment: dict[str, str], folder: Path = ROOT) -> Timing:
    """Run commands one after another, in a folder, and time them as one; a failing one ends the benchmark."""
    printed = []
    with watched(environment) as memory:
        began = perf_counter()
        for command in commands:
            done = subprocess.run(
                command, env=environment, cwd=folder, capture_output=True, text=True, errors="replace"
            )
            if done.returncode:
                sys.exit(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
            printed.append(done.stdout)
        seconds = perf_counter() - began
    return Timing(seconds, memory.peak_mb, "".join(printed))


def steps_of_newest_run(environment: dict[str, str]) -> dict[str, Timing]:
    """Step → what it took in the newest run of a data folder, with the peak memory of its kernel."""
    run = json.loads((Path(environment["DUCKBOOK_RUNS"]) / "latest" / "run.json").read_text("utf-8"))
    return {step["name"]: Timing(step["seconds"], step["peak_rss_mb"], "") for step in run["steps"]}


@contextlib.contextmanager
def watched(environment: dict[str, str]) -> Iterator[Memory]:
    """Watch the memory of the processes of a data folder while the block runs."""
    memory = Memory(environment["DUCKBOOK_DATA"])
    try:
        yield memory
    finally:
        memory.stop()


class Memory:
    """The peak resident memory of the processes of a data folder: chain, kernels, Postgres and the object storage.

    They are recognised by the data folder in their environment or command line, or by their parent: servers and
    kernels outlive, or leave, the process group of the command that started them.
    """

    def __init__(self, folder: str) -> None:
        self.peaks: dict[int, tuple[str, float]] = {}
        self._folder = folder
        self._known: dict[int, bool] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def peak_mb(self) -> float:
        """The peak of the largest process, in MB."""
        return max((peak for _, peak in self.peaks.values()), default=0.0)

    def stop(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error, OSError):
                    if self._is_ours(process):
                        name, before = self.peaks.get(process.pid, (process.name(), 0.0))
                        self.peaks[process.pid] = (name, max(before, process.memory_info().rss / 2**20))

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.pid == os.getpid():
            return False
        # Asked again until it is: a process shows its parent's environment before it becomes what it was started for.
        if not self._known.get(process.pid):
            self._known[process.pid] = (
                self._known.get(process.ppid(), False)
                or process.environ().get("DUCKBOOK_DATA") == self._folder
                or any(self._folder in word for word in process.cmdline())
            )
        return self._known[process.pid]
