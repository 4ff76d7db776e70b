"""The archive of executed runs: ``runs/<run_id>/run.json``.

A run is one folder. Each change rewrites its ``run.json`` atomically. The file names the process that writes it, so
that a run whose process was killed reads as interrupted. Times are UTC, ISO 8601, to the millisecond; seconds and MB
are floats.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from duckbook.backends.clock import now
from duckbook.errors import ChainError
from duckbook.files import write_private
from duckbook.runs import facts

# Status of a run or step. A step is `skipped` if the run ended before it, or if its notebook has too few data.
WAITING, RUNNING, SUCCEEDED = "waiting", "running", "succeeded"
FAILED, INTERRUPTED, SKIPPED = "failed", "interrupted", "skipped"

USAGE = ("peak_rss_mb", "read_mb", "written_mb")
"""What a step's kernel used: peak memory, and MB read from and written to files."""

STEP_RESULTS = ("started_at", "ended_at", "seconds", *USAGE, "error")
"""Keys of a step that are null until it runs."""

SILENT_FOR = timedelta(days=1)
"""How long a run of another machine may write nothing before it counts as killed: longer than any step may take."""

KILLED = "The process of the run was killed, or the machine stopped."


def seconds_between(start: str, end: str) -> float:
    """Seconds between two times of the archive."""
    between = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(max(between.total_seconds(), 0), 3)


RESERVE, RESERVE_BYTES = ".room", 2**20
"""A file that is deleted to make room for ``run.json`` when the disk is full."""


class Run:
    """A run that this process writes.

    Parameters
    ----------
    folder
        ``runs/<run_id>``, which exists.
    record
        The content of ``run.json``, which `save` writes.
    """

    def __init__(self, folder: Path, record: dict[str, Any]):
        self.folder = folder
        self.scrub: Callable[[Any], Any] = lambda record: record
        self.record = record
        self._steps = {step["name"]: step for step in record["steps"]}

    @classmethod
    def begin(
        cls,
        runs: Path,
        *,
        target: str,
        as_of: str | None,
        parameters: dict[str, Any],
        steps: Iterable[tuple[str, str]],
        **more: Any,
    ) -> Run:
        """Create the folder of a new run and write its first ``run.json``.

        Parameters
        ----------
        steps
            Name and notebook of each step of the run, in order.
        more
            Further keys of ``run.json``, such as `git` and `versions`.
        """
        folder = _new_folder(runs)
        record = {
            "run_id": folder.name,
            "status": RUNNING,
            "error": None,
            "target": target,
            "as_of": as_of,
            "parameters": parameters,
            "started_at": now(),
            "ended_at": None,
            "seconds": None,
            "process": _this_process(),
            **more,
            "steps": [
                {"name": name, "notebook": notebook, "status": WAITING} | dict.fromkeys(STEP_RESULTS)
                for name, notebook in steps
            ],
            "tables": [],
            "reconciliation": [],
            "tests": {"passed": 0, "failed": 0, "warned": 0},
        }
        run = cls(folder, record)
        run.save()
        run.reserve_space()
        _point_at(runs, folder.name)
        return run

    def reserve_space(self) -> None:
        """Reserve disk space to record how the run ended when the disk is full."""
        write_private(self.folder / RESERVE, b"\0" * RESERVE_BYTES)

    @classmethod
    def reopen(cls, folder: Path, first: str, why: str, **more: Any) -> Run:
        """Resume an ended run: the steps from `first` on wait again.

        Parameters
        ----------
        first, why
            The step to resume from, and why it is this one.
        more
            Keys of ``run.json`` to replace.
        """
        with _record_lock(folder):
            record = read(folder)
            record.pop("not_told", None)
            waits_again = False
            for step in record["steps"]:
                waits_again = waits_again or step["name"] == first
                if waits_again:
                    step.update(dict.fromkeys(STEP_RESULTS), status=WAITING)
            resumed = {"at": now(), "from": first, "because": why, "seconds_before": record["seconds"]}
            record.setdefault("resumed", []).append(resumed)
            record.update(process=_this_process(), status=RUNNING, error=None, ended_at=None, seconds=None, **more)
            run = cls(folder, record)
            run.save()
            run.reserve_space()
            _point_at(folder.parent, folder.name)
            return run

    def save(self) -> None:
        """Write ``run.json`` atomically, redacted by `scrub`."""
        text = json.dumps(self.scrub(copy.deepcopy(self.record)), indent=1, ensure_ascii=False)
        # On a full disk delete the reserve first, then the pages, which can be made again.
        for deletable in (None, RESERVE, "*.html"):
            for path in self.folder.glob(deletable) if deletable else ():
                path.unlink(missing_ok=True)
            try:
                write_private(self.folder / "run.json", text)
                break
            except OSError:
                if deletable == "*.html":
                    raise
        if deletable and self.record["status"] == RUNNING:
            with contextlib.suppress(OSError):
                self.reserve_space()

    def step(self, name: str) -> dict[str, Any]:
        """The entry of a step in the record."""
        entry: dict[str, Any] = self._steps[name]
        return entry

    def step_started(self, name: str) -> None:
        """Record the start of a step, and delete the facts of an earlier attempt."""
        shutil.rmtree(self.folder / "facts" / name, ignore_errors=True)
        self.step(name).update(status=RUNNING, started_at=now())
        self.save()

    def step_ended(self, name: str, status: str, *, error: str | None = None, **usage: float) -> None:
        """Record how a step ended and what it used (`USAGE`), and merge the facts that its notebook reported."""
        step, ended = self.step(name), now()
        seconds = seconds_between(step["started_at"], ended) if step["started_at"] else None
        step.update(dict.fromkeys(USAGE) | usage, status=status, ended_at=ended, seconds=seconds, error=error)
        facts.merge(self.record, self.folder / "facts", name)
        self.save()

    def end(self, status: str, error: str | None = None) -> None:
        """Record how the run ended; steps that never ran are skipped."""
        _close(self.record, status, error, now())
        (self.folder / RESERVE).unlink(missing_ok=True)
        self.save()


def read(folder: Path) -> dict[str, Any]:
    """Read the record of a run; a run whose process was killed reads as interrupted.

    Raises
    ------
    ChainError
        The folder has no readable ``run.json``.
    """
    try:
        record: dict[str, Any] = json.loads((folder / "run.json").read_text("utf-8"))
    except FileNotFoundError:
        raise ChainError(f"There is no run {folder.name} in the archive {folder.parent}.") from None
    except (OSError, ValueError) as error:
        raise ChainError(f"The record of run {folder.name} cannot be read ({error}).") from None
    if record.get("status") == RUNNING and not _is_alive(record.get("process") or {}, folder):
        _close(record, INTERRUPTED, KILLED, _last_write(folder))
    return record


def read_all(runs: Path, data_folder: str | None = None) -> list[dict[str, Any]]:
    """Read the records of all runs, newest first, except unreadable ones.

    Parameters
    ----------
    data_folder
        Only runs of this data folder, as `provenance.data_folder` names it; None for all.
    """
    records = []
    for folder in sorted(runs.glob("*/run.json"), reverse=True) if runs.is_dir() else []:
        if not folder.parent.is_symlink():
            with contextlib.suppress(ChainError):
                records.append(read(folder.parent))
    # Records of earlier versions name no data folder, and are in every selection.
    return [record for record in records if data_folder is None or record.get("store") in (data_folder, None)]


def kind(record: dict[str, Any]) -> str:
    """Kind of a run: pipeline, latest, rebuild, or the step or group that it ran alone."""
    return record.get("kind") or (record.get("request") or {}).get("only") or "pipeline"


def interrupt_killed(runs: Path) -> list[str]:
    """Record all runs whose process was killed as interrupted, and return their ids."""
    return [record["run_id"] for record in read_all(runs) if interrupt(runs / record["run_id"])]


def interrupt(folder: Path) -> bool:
    """Record a run as interrupted if its process was killed, and return whether it was.

    The cell that was running is marked as failed in its notebook. Cells that never ran stay pending.
    """
    with _record_lock(folder):
        if json.loads((folder / "run.json").read_text("utf-8"))["status"] != RUNNING:
            return False
        record = read(folder)
        if record["status"] == RUNNING:
            return False
        for step in record["steps"]:
            if step["status"] == INTERRUPTED:
                _mark_killed_cell(folder / step["notebook"])
        Run(folder, record).save()
        (folder / RESERVE).unlink(missing_ok=True)
        return True


def _record_lock(folder: Path) -> Any:
    """Lock for changing the record of a run that another process wrote."""
    from filelock import FileLock

    return FileLock(folder / ".run.lock", timeout=30, mode=0o600)


def _mark_killed_cell(notebook: Path) -> None:
    try:
        document = json.loads(notebook.read_text("utf-8"))
    except (OSError, ValueError):
        return
    for cell in document.get("cells", []):
        paper = cell["metadata"].get("papermill", {})
        if paper.get("status") == RUNNING:
            paper.update(status=FAILED, exception=True)
            document["metadata"].setdefault("papermill", {})["exception"] = True
    write_private(notebook, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def latest(runs: Path, data_folder: str | None = None) -> Path | None:
    """The folder of the run that was started or resumed last, or None; `data_folder` as in `read_all`."""
    pointer = runs / "latest"
    if data_folder is None:
        # The archive may belong to another user.
        with contextlib.suppress(PermissionError):
            return pointer.resolve() if (pointer / "run.json").exists() else None
        return None
    newest = max(read_all(runs, data_folder), key=_last_started, default=None)
    return runs / newest["run_id"] if newest else None


def find(runs: Path, run_id: str, data_folder: str) -> Path:
    """The folder of a run; ``latest`` is the newest run of the data folder.

    Raises
    ------
    ChainError
        The data folder has no run yet.
    """
    if run_id != "latest":
        return (runs / run_id).resolve()
    folder = latest(runs, data_folder)
    if folder is None:
        raise ChainError(f"There is no run of {data_folder} in the archive {runs} yet: start one with `make pipeline`.")
    return folder


def _last_started(record: dict[str, Any]) -> str:
    return str(record["resumed"][-1]["at"] if record.get("resumed") else record["started_at"])


def _last_write(folder: Path) -> str:
    """When a run last wrote a file. Hidden files do not count: readers create the lock."""
    written = max(path.stat().st_mtime for path in folder.iterdir() if not path.name.startswith("."))
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _close(record: dict[str, Any], status: str, error: str | None, ended: str) -> None:
    for step in record["steps"]:
        if step["status"] == RUNNING:
            step.update(status=status, ended_at=ended, seconds=seconds_between(step["started_at"], ended), error=error)
        elif step["status"] == WAITING:
            step["status"] = SKIPPED
    # The time between the end of an attempt and its resumption does not count.
    attempt = record["resumed"][-1] if record.get("resumed") else {"at": record["started_at"], "seconds_before": 0}
    seconds = round(attempt["seconds_before"] + seconds_between(attempt["at"], ended), 3)
    record.update(status=status, error=error, ended_at=ended, seconds=seconds)


def _new_folder(runs: Path) -> Path:
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        folder = runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%S-%f")[:-3]
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder


def _point_at(runs: Path, run_id: str) -> None:
    """Point the link ``runs/latest`` at a run, atomically."""
    link = runs / f".latest.{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(run_id)
    link.replace(runs / "latest")


def _this_process() -> dict[str, Any]:
    process = psutil.Process()
    record = {"host": socket.gethostname(), "pid": process.pid, "started": round(process.create_time(), 2)}
    return record | ({"ids": _pid_namespace()} if _pid_namespace() else {})


def _pid_namespace() -> str | None:
    """Identifies the boot and PID namespace in which this machine's process ids are unique; None except on Linux."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_alive(process: dict[str, Any], folder: Path) -> bool:
    """Whether the process of a run is alive; on another machine, whether the run has written within `SILENT_FOR`."""
    ids = process.get("ids")
    is_local = ids == _pid_namespace() if ids else process.get("host") == socket.gethostname()
    if not is_local:
        written = datetime.fromisoformat(_last_write(folder))
        return bool(process) and datetime.now(UTC) - written < SILENT_FOR
    try:
        found = psutil.Process(process["pid"])
        # Process ids are reused; start times differ.
        return found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - process["started"]) < 1
    except psutil.Error:
        return False
