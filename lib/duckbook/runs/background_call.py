"""A function called in a process of its own, which can be waited for and stopped, and which says what went wrong.

It is split off from the zygote where there is one, since that has imported what the function needs; else it is started.
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
from duckbook.runs.fork_server import Zygote


class Apart:
    """The call of a function.

    Parameters
    ----------
    function
        Its name, ``module:function``; it takes one text.
    argument
        That text.
    told
        File that it leaves its outcome in.
    environment
        The whole environment of the process, which leads a group of its own.
    zygote
        Where it is split off; None, or one that is gone, to start it.
    """

    def __init__(
        self, function: str, argument: str, told: Path, environment: dict[str, str], zygote: Zygote | None = None
    ):
        self._told = told
        self._popen: subprocess.Popen | None = None
        words = [function, argument, str(told)]
        try:
            if zygote is None:
                raise OSError
            self.pid = zygote.split_off(
                words, str(told.parent), environment, becomes="duckbook.runs.background_call:carry_out"
            )
        except OSError:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "duckbook.runs.background_call", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.pid = self._popen.pid

    def outcome(self, seconds: float) -> str | None:
        """Wait for its end; what went wrong as a text, None when nothing did."""
        try:
            self._wait(seconds)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            self.stop()
            return f"It did not end in {seconds:g} s and was stopped."
        return read_json(self._told).get("error", "It was killed.")

    def stop(self) -> None:
        """End it now, with all that it started in its group."""
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


def carry_out(words: list[str]) -> None:
    """Call the function in this process, and leave word of how that went."""
    function, argument, told = words
    error = None
    try:
        module, name = function.split(":")
        getattr(importlib.import_module(module), name)(argument)
    except Exception as failure:
        error = str(failure) or type(failure).__name__
    write_private(Path(told), json.dumps({"error": error}))


if __name__ == "__main__":
    carry_out(sys.argv[1:])
