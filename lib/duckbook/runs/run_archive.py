"""The archive of executed runs: ``runs/<run_id>/run.json``, true at every moment.

A run is one folder. Its ``run.json`` is written anew, whole or not at all, whenever something changes, and names the
process that writes it, so that a run whose process is gone reads as interrupted, however it went. This module knows
files and words; it starts nothing. Times are UTC, ISO 8601, to the millisecond; seconds and MB are floats.
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

# What a step or a run can be. A step is `waiting` until it runs; in a run that ended without it, it is `skipped`,
# and so is one whose notebook says that its data are not enough.
WAITING, RUNNING, SUCCEEDED = "waiting", "running", "succeeded"
FAILED, INTERRUPTED, SKIPPED = "failed", "interrupted", "skipped"

USAGE = ("peak_rss_mb", "read_mb", "written_mb")
"""What a step's kernel used: memory at its peak, and what it read from files and wrote to them."""

TOLD = ("started_at", "ended_at", "seconds", *USAGE, "error")
"""What a step has to tell when it has ended."""

SILENT_FOR = timedelta(days=1)
"""How long a run of another machine may write nothing before it is taken for gone: longer than any step may take."""

GONE = "The process of the run ended without saying so: it was killed, or the machine stopped."


def seconds_between(start: str, end: str) -> float:
    """Seconds from one moment of the archive to another."""
    between = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(max(between.total_seconds(), 0), 3)


ROOM, ROOM_BYTES = ".room", 2**20
"""A file that gives its room to the record of a run when the disk is full."""


class Run:
    """A run that this process writes; `record` is what ``run.json`` holds.

    Parameters
    ----------
    folder
        ``runs/<run_id>``, which exists.
    record
        The content of ``run.json``; it goes to disk with `save`.
    """

    def __init__(self, folder: Path, record: dict[str, Any]):
        self.folder = folder
        self.scrub: Callable[[Any], Any] = lambda record: record
        self.record = record
        self._steps = {step["name"]: step for step in record["steps"]}

    @classmethod
    def begin(
        cls, runs: Path, *, target: str, as_of: str | None, parameters: dict, steps: Iterable[tuple[str, str]], **more
    ) -> Run:
        """Make the folder of a new run and write its first ``run.json``.

        Parameters
        ----------
        runs
            The folder of the archive.
        steps
            Name and notebook of each step that this run is to do, in order.
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
                {"name": name, "notebook": notebook, "status": WAITING} | dict.fromkeys(TOLD)
                for name, notebook in steps
            ],
            "tables": [],
            "reconciliation": [],
            "tests": {"passed": 0, "failed": 0, "warned": 0},
        }
        run = cls(folder, record)
        run.save()
        run.keep_room()
        _point_at(runs, folder.name)
        return run

    def keep_room(self) -> None:
        """Keep some room on the disk, so that how the run ended can be written when there is none left."""
        write_private(self.folder / ROOM, b"\0" * ROOM_BYTES)

    @classmethod
    def reopen(cls, folder: Path, first: str, why: str, **more) -> Run:
        """Go on with an ended run: the steps from `first` on wait again.

        Parameters
        ----------
        first
            Name of the step to go on from.
        why
            The reason that it is this one, which the record keeps.
        more
            Keys of ``run.json`` that are replaced.
        """
        with _alone(folder):
            return cls._reopened(folder, first, why, more)

    @classmethod
    def _reopened(cls, folder: Path, first: str, why: str, more: dict[str, Any]) -> Run:
        record = read(folder)
        record.pop("not_told", None)
        again = False
        for step in record["steps"]:
            again = again or step["name"] == first
            if again:
                step.update(dict.fromkeys(TOLD), status=WAITING)
        resumed = {"at": now(), "from": first, "because": why, "seconds_before": record["seconds"]}
        record.setdefault("resumed", []).append(resumed)
        ended = {"status": RUNNING, "error": None, "ended_at": None, "seconds": None}
        record.update(process=_this_process(), **ended, **more)
        run = cls(folder, record)
        run.save()
        run.keep_room()
        _point_at(folder.parent, folder.name)
        return run

    def save(self) -> None:
        """Write ``run.json``, whole or not at all, without what `scrub` takes out of it."""
        written = json.dumps(self.scrub(copy.deepcopy(self.record)), indent=1, ensure_ascii=False)
        # Where there is no room: first what was kept goes, then pages, which are made of the notebooks again.
        for spare in (None, ROOM, "*.html"):
            for path in self.folder.glob(spare) if spare else ():
                path.unlink(missing_ok=True)
            try:
                write_private(self.folder / "run.json", written)
                break
            except OSError:
                if spare == "*.html":
                    raise
        if spare and self.record["status"] == RUNNING:
            with contextlib.suppress(OSError):
                self.keep_room()

    def step(self, name: str) -> dict[str, Any]:
        """The entry of a step."""
        return self._steps[name]

    def step_started(self, name: str) -> None:
        """Note that a step runs from now on; what an earlier attempt at it left is gone."""
        shutil.rmtree(self.folder / "facts" / name, ignore_errors=True)
        self.step(name).update(status=RUNNING, started_at=now())
        self.save()

    def step_ended(self, name: str, status: str, *, error: str | None = None, **usage: float) -> None:
        """Note how a step ended and what it used (`USAGE`), and take in the facts that its notebook left."""
        step, ended = self.step(name), now()
        seconds = seconds_between(step["started_at"], ended) if step["started_at"] else None
        step.update(dict.fromkeys(USAGE) | usage, status=status, ended_at=ended, seconds=seconds, error=error)
        facts.merge(self.record, self.folder / "facts", name)
        self.save()

    def end(self, status: str, error: str | None = None) -> None:
        """Note how the run ended; steps that never ran are skipped."""
        _close(self.record, status, error, now())
        (self.folder / ROOM).unlink(missing_ok=True)
        self.save()


def read(folder: Path) -> dict[str, Any]:
    """The record of a run as it is now: a run whose process is gone reads as interrupted.

    Raises
    ------
    ChainError
        The folder holds no readable ``run.json``.
    """
    try:
        record = json.loads((folder / "run.json").read_text("utf-8"))
    except FileNotFoundError:
        raise ChainError(f"There is no run {folder.name} in the archive {folder.parent}.") from None
    except (OSError, ValueError) as error:
        raise ChainError(f"The record of run {folder.name} cannot be read ({error}).") from None
    if record.get("status") == RUNNING and not _lives(record.get("process") or {}, folder):
        _close(record, INTERRUPTED, GONE, _last_sign(folder))
    return record


def read_all(runs: Path, store: str | None = None) -> list[dict[str, Any]]:
    """The records of all runs, newest first; folders without a readable record are left out.

    Parameters
    ----------
    store
        The data folder whose runs are meant, as `provenance.store` names it; None: all of them.
    """
    found = []
    for folder in sorted(runs.glob("*/run.json"), reverse=True) if runs.is_dir() else []:
        if not folder.parent.is_symlink():
            with contextlib.suppress(ChainError):
                found.append(read(folder.parent))
    # Records of earlier versions name no data folder, and count for each.
    return [record for record in found if store is None or record.get("store") in (store, None)]


def kind(record: dict[str, Any]) -> str:
    """What kind of run it was: pipeline, latest, rebuild, or the step or group of steps that it did alone."""
    return record.get("kind") or (record.get("request") or {}).get("only") or "pipeline"


def settle(runs: Path) -> list[str]:
    """Write down that runs were interrupted whose process is gone, and return their ids."""
    return [record["run_id"] for record in read_all(runs) if interrupt(runs / record["run_id"])]


def interrupt(folder: Path) -> bool:
    """Write down that a run was interrupted, if its record still says running and its process is gone.

    The cell that was running is marked in its notebook; cells that never ran stay pending.
    """
    with _alone(folder):
        if json.loads((folder / "run.json").read_text("utf-8"))["status"] != RUNNING:
            return False
        record = read(folder)
        if record["status"] == RUNNING:
            return False
        for step in record["steps"]:
            if step["status"] == INTERRUPTED:
                _mark_killed_cell(folder / step["notebook"])
        Run(folder, record).save()
        (folder / ROOM).unlink(missing_ok=True)
        return True


def _alone(folder: Path) -> Any:
    """The right to change the record of a run that another process wrote: who resumes it, or says that it is gone."""
    from filelock import FileLock

    return FileLock(folder / ".run.lock", timeout=30, mode=0o600)


def _mark_killed_cell(notebook: Path) -> None:
    try:
        told = json.loads(notebook.read_text("utf-8"))
    except (OSError, ValueError):
        return
    for cell in told.get("cells", []):
        paper = cell["metadata"].get("papermill", {})
        if paper.get("status") == RUNNING:
            paper.update(status=FAILED, exception=True)
            told["metadata"].setdefault("papermill", {})["exception"] = True
    write_private(notebook, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def latest(runs: Path, store: str | None = None) -> Path | None:
    """The folder of the run that began last, or was resumed last, or None when there is none; `store` as `read_all`."""
    pointer = runs / "latest"
    if store is None:
        # An archive may be another user's.
        with contextlib.suppress(PermissionError):
            return pointer.resolve() if (pointer / "run.json").exists() else None
        return None
    newest = max(read_all(runs, store), key=_last_begun, default=None)
    return newest and runs / newest["run_id"]


def find(runs: Path, run_id: str, store: str) -> Path:
    """The folder of a run, where ``latest`` means the newest one of a data folder.

    Raises
    ------
    ChainError
        There is none.
    """
    if run_id != "latest":
        return (runs / run_id).resolve()
    folder = latest(runs, store)
    if folder is None:
        raise ChainError(f"There is no run of {store} in the archive {runs} yet: make one with `make pipeline`.")
    return folder


def _last_begun(record: dict[str, Any]) -> str:
    return record["resumed"][-1]["at"] if record.get("resumed") else record["started_at"]


def _last_sign(folder: Path) -> str:
    """When a run last wrote something: it lived until then at least. The lock is whoever asks' own."""
    written = max(path.stat().st_mtime for path in folder.iterdir() if not path.name.startswith("."))
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _close(record: dict[str, Any], status: str, error: str | None, ended: str) -> None:
    for step in record["steps"]:
        if step["status"] == RUNNING:
            step.update(status=status, ended_at=ended, seconds=seconds_between(step["started_at"], ended), error=error)
        elif step["status"] == WAITING:
            step["status"] = SKIPPED
    # A resumed run worked before it ended the last time, and since it was resumed; not in between.
    last = record["resumed"][-1] if record.get("resumed") else {"at": record["started_at"], "seconds_before": 0}
    seconds = round(last["seconds_before"] + seconds_between(last["at"], ended), 3)
    record.update(status=status, error=error, ended_at=ended, seconds=seconds)


def _new_folder(runs: Path) -> Path:
    runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        folder = runs / datetime.now(UTC).strftime("%Y%m%dT%H%M%S-%f")[:-3]
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            return folder


def _point_at(runs: Path, run_id: str) -> None:
    """Let ``runs/latest`` name the newest run; a link is moved into place, so it always names one."""
    mine = runs / f".latest.{os.getpid()}"
    mine.unlink(missing_ok=True)
    mine.symlink_to(run_id)
    mine.replace(runs / "latest")


def _this_process() -> dict[str, Any]:
    me = psutil.Process()
    told = {"host": socket.gethostname(), "pid": me.pid, "started": round(me.create_time(), 2)}
    return told | ({"ids": _ids_of()} if _ids_of() else {})


def _ids_of() -> str | None:
    """What the process ids of this machine, or container, belong to until it starts again, whatever its name is."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _lives(process: dict[str, Any], folder: Path) -> bool:
    """Whether the process that wrote a record still runs; one of another machine does while it gives signs of life."""
    here = process.get("ids") == _ids_of() if process.get("ids") else process.get("host") == socket.gethostname()
    if not here:
        written = datetime.fromisoformat(_last_sign(folder))
        return bool(process) and datetime.now(UTC) - written < SILENT_FOR
    try:
        found = psutil.Process(process["pid"])
        # The start time tells a reused process id from the one that wrote the record.
        return found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - process["started"]) < 1
    except psutil.Error:
        return False
