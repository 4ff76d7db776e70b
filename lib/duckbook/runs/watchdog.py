"""A small process that completes the record of a run that was killed.

It reads from a pipe that the run holds open. If the pipe closes without `FINISHED`, the run was killed: the watchdog
stops what the run had started, marks the running cell as failed, records the run as interrupted, and writes the pages
and sends the notification as the run would have done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from duckbook.runs import run_archive

FINISHED = "finished"


class Watchdog:
    """The run's end of the pipe.

    Parameters
    ----------
    folder
        Folder of the run.
    """

    def __init__(self, folder: Path):
        # A session of its own: Ctrl-C reaches the process group of the run and must not reach the watchdog.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "duckbook.runs.watchdog", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdin
        self._pipe = self._process.stdin

    def watch(self, pid: int, folder: Path | None = None) -> None:
        """Register a process group to kill if the run is killed.

        Parameters
        ----------
        pid
            The leader of the group.
        folder
            A folder to remove with it, such as that of a kernel's sockets.
        """
        with contextlib.suppress(psutil.Error):
            self._send(f"{pid} {psutil.Process(pid).create_time()} {folder or ''}")

    def dismiss(self) -> None:
        """End the watchdog, because the run has recorded how it ended."""
        self._send(FINISHED)
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait(10)

    def _send(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._pipe.write(f"{line}\n")
            self._pipe.flush()


def main() -> None:
    """Read the pipe until the run finishes or is killed."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    watched = []
    for line in sys.stdin:
        if line.strip() == FINISHED:
            return
        pid, started, folder = line.rstrip("\n").split(" ", 2)
        watched.append((int(pid), float(started), folder))
    for pid, started, folder in watched:
        _kill_group(pid, started)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(sys.argv[1])
    for _ in range(50):
        # The pipe closes shortly before the process is gone.
        if run_archive.interrupt(folder):
            _write_pages_and_notify(folder)
            return
        time.sleep(0.1)


def _kill_group(pid: int, started: float) -> None:
    """Kill a process group, unless its leader's process id was reused."""
    with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
        if abs(psutil.Process(pid).create_time() - started) < 1:
            os.killpg(pid, signal.SIGKILL)


def _write_pages_and_notify(folder: Path) -> None:
    from duckbook import redaction
    from duckbook.runs import notification, page
    from duckbook.settings import settings

    run = run_archive.Run(folder, run_archive.read(folder))
    page.write_all(folder)
    notification.notify(settings(), run, redaction.Redactor(redaction.secrets_of(settings())))


if __name__ == "__main__":
    main()
