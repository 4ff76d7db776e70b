"""A small process beside a run, which sees to it that the record is true when the run is killed outright.

It waits at the end of a pipe that the run holds. When the pipe ends without a word of farewell, the run was killed:
the witness stops its kernels, marks the cell that was running, and writes down that the run was interrupted.
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

from duckbook import runs

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
            [sys.executable, "-m", "duckbook.witness", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def kernel_started(self, pid: int, folder: Path) -> None:
        """Name a kernel that is to be stopped if the run is killed, and the folder of its sockets."""
        self._say(f"{pid} {folder}")

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
    kernels = []
    for line in sys.stdin:
        if line.strip() == FAREWELL:
            return
        pid, _, folder = line.strip().partition(" ")
        kernels.append((int(pid), Path(folder)))
    for pid, folder in kernels:
        # The folder of a kernel that has ended is gone, and its process id may be another's by now.
        if folder.is_dir():
            # A kernel leads a group of its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)
    for _ in range(50):
        # The pipe closes a moment before the process is gone.
        if runs.interrupt(Path(sys.argv[1])):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
