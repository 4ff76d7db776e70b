"""A small process beside a run, which sees to it that the record is true when the run is killed outright.

It waits at the end of a pipe that the run holds. When the pipe ends without a word of farewell, the run was killed:
the witness stops what the run had started, marks the cell that was running, writes down that the run was interrupted,
and does what the run does at its end.
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

FAREWELL = "farewell"


class Witness:
    """The run's end of the pipe.

    Parameters
    ----------
    folder
        Folder of the run.
    """

    def __init__(self, folder: Path):
        # In a session of its own: what is sent to the run's group, such as Ctrl-C, is not for the witness.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "duckbook.runs.watchdog", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def watch(self, pid: int, folder: Path | None = None) -> None:
        """Name the leader of a group of processes that is to be stopped if the run is killed, and a folder of its own.

        Parameters
        ----------
        folder
            What is removed with it, such as the folder of a kernel's sockets.
        """
        with contextlib.suppress(psutil.Error):
            self._say(f"{pid} {psutil.Process(pid).create_time()} {folder or ''}")

    def dismiss(self) -> None:
        """The run has ended by itself and its record says how."""
        self._say(FAREWELL)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait(10)

    def _say(self, word: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()


def main() -> None:
    """Wait at the pipe for the run's end."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    watched = []
    for line in sys.stdin:
        if line.strip() == FAREWELL:
            return
        pid, started, folder = line.rstrip("\n").split(" ", 2)
        watched.append((int(pid), float(started), folder))
    for pid, started, folder in watched:
        _stop(pid, started)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(sys.argv[1])
    for _ in range(50):
        # The pipe closes a moment before the process is gone.
        if run_archive.interrupt(folder):
            _tell(folder)
            return
        time.sleep(0.1)


def _stop(pid: int, started: float) -> None:
    """Stop a group, if its leader is still the process that it was: a process id is used again."""
    with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
        if abs(psutil.Process(pid).create_time() - started) < 1:
            os.killpg(pid, signal.SIGKILL)


def _tell(folder: Path) -> None:
    """What the run would have done at its end: its pages, and those who want to know."""
    from duckbook import redaction
    from duckbook.runs import notification, page
    from duckbook.settings import settings

    record = run_archive.Run(folder, run_archive.read(folder))
    page.write_all(folder)
    chosen = settings()
    notification.tell(chosen, record, redaction.Redactor(redaction.secrets_of(chosen)))


if __name__ == "__main__":
    main()
