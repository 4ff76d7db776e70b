"""Call a function in a process of its own, wait for it or stop it, and get its error.

The process is forked from the fork server, which has the imports loaded, or else started.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from duckbook.files import read_json, write_private
from duckbook.runs.fork_server import ForkServer


class BackgroundCall:
    """A function call that runs in its own process group.

    Parameters
    ----------
    function
        Its name, ``module:function``. It takes one string, the `argument`.
    result_file
        File that the process writes its error to.
    environment
        The whole environment of the process.
    fork_server
        Server to fork the process from. Without one, or if it is gone, the process is started.
    """

    def __init__(
        self,
        function: str,
        argument: str,
        result_file: Path,
        environment: dict[str, str],
        fork_server: ForkServer | None = None,
    ):
        self._result_file = result_file
        self._popen: subprocess.Popen | None = None
        arguments = [function, argument, str(result_file)]
        try:
            if fork_server is None:
                raise OSError
            self.pid = fork_server.fork(
                arguments, str(result_file.parent), environment, function="duckbook.runs.background_call:call"
            )
        except OSError:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "duckbook.runs.background_call", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.pid = self._popen.pid

    def error(self, seconds: float) -> str | None:
        """Wait for the call to end, and return its error, or None if it succeeded."""
        try:
            self._wait(seconds)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            self.stop()
            return f"It did not end in {seconds:g} s and was stopped."
        return read_json(self._result_file).get("error", "It was killed.")

    def stop(self) -> None:
        """Kill the process and its group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
            self._wait(10)
        except (OSError, psutil.Error, subprocess.TimeoutExpired):
            return

    def _wait(self, seconds: float) -> None:
        if self._popen is not None:
            self._popen.wait(seconds)
            return
        try:
            psutil.Process(self.pid).wait(seconds)
        except psutil.NoSuchProcess:
            return


def call(arguments: list[str]) -> None:
    """Call the function in this process, and write its error to the result file."""
    function, argument, result_file = arguments
    error = None
    try:
        module, name = function.split(":")
        getattr(importlib.import_module(module), name)(argument)
    except Exception as failure:
        error = str(failure) or type(failure).__name__
    write_private(Path(result_file), json.dumps({"error": error}))


if __name__ == "__main__":
    call(sys.argv[1:])
