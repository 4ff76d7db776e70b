"""A process that has imported what notebooks import, and splits off a fresh kernel in milliseconds.

Importing costs each kernel some seconds of processor time; the zygote pays them once. A kernel that it splits off is a
process of its own with its own folder, environment and group, and shares with the others only what was imported, of
which each has its own copy: nothing that a notebook does reaches the next. Forking after imports is sound on Linux;
elsewhere, and when the zygote cannot, kernels are started the ordinary way.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, TextIO

import psutil
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

PROVISIONER = "duckbook-zygote"

SUPPORTED = sys.platform == "linux"

POLL_SECONDS = 0.1

EVERY_KERNEL = (
    *("ipykernel.kernelapp", "ipykernel.zmqshell", "ipykernel.debugger", "IPython.core.completerlib"),
    *("IPython.core.debugger", "IPython.core.oinspect", "sqlite3", "wcwidth"),
)
"""What each kernel would import to start, and, the last one, to show its first result of a query."""


class Zygote:
    """The chain's end: it asks for kernels.

    Parameters
    ----------
    imports
        Modules to import, the most urgent first; kernels can be had from the moment the first ones are there. A name
        with a colon, ``module:function``, is a function to call with the settings and whether it is called apart: first
        in a process of its own, for what takes long, and when that has ended in the zygote, whose kernels then have
        what it keeps.
    urgent
        How many of them are imported before the first kernel is split off.
    env
        Environment while importing.
    """

    def __init__(self, imports: Iterable[str], urgent: int, env: dict[str, str]):
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            # -P: the folder from which the chain was started is no place to import from.
            [sys.executable, "-P", "-m", "duckbook.runs.fork_server", str(urgent), *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The id of its process, which leads a group of its own."""
        return self._process.pid

    def split_off(self, argv: list[str], cwd: str, env: dict[str, str], becomes: str | None = None) -> int:
        """The process id of a new kernel, or of a process that calls a function.

        Parameters
        ----------
        becomes
            The function, ``module:function``, which takes `argv`; None for a kernel.

        Raises
        ------
        OSError
            The zygote is gone.
        """
        with self._lock:
            try:
                self._process.stdin.write(json.dumps({"argv": argv, "cwd": cwd, "env": env, "becomes": becomes}) + "\n")
                self._process.stdin.flush()
                return int(self._process.stdout.readline())
            except ValueError as error:
                raise OSError("the zygote is gone") from error

    def close(self) -> None:
        """End the zygote, and what prepares a step that will not come; its kernels end by those who asked for them."""
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        # Whoever waits for an answer has it now: there is none.
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()


class SplitProcess:
    """A kernel that the zygote split off, as `LocalProvisioner` wants a process: its parent is the zygote."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """None while it lives; its true exit status is the zygote's to know."""
        with contextlib.suppress(psutil.Error):
            if self._process and self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return None
        self.returncode = 1
        return self.returncode

    def wait(self) -> int:
        """Wait until it is gone."""
        while self.poll() is None:
            time.sleep(0.05)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to it alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)


class ZygoteProvisioner(LocalProvisioner):
    """Gives a kernel manager that has a `zygote` a kernel that it splits off, and any other one an ordinary kernel."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Start the kernel."""
        zygote: Zygote | None = getattr(self.parent, "zygote", None)
        if zygote is not None:
            with contextlib.suppress(OSError):
                # What stands after `python -m ipykernel_launcher` are the kernel's own arguments.
                argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
                self.pid = self.pgid = zygote.split_off(argv, str(kwargs["cwd"]), kwargs["env"])
                self.process = SplitProcess(self.pid)
                self.cwd = kwargs["cwd"]
                return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)


KernelProvisionerFactory.provisioners[PROVISIONER] = EntryPoint(
    PROVISIONER, "duckbook.runs.fork_server:ZygoteProvisioner", KernelProvisionerFactory.GROUP_NAME
)


def main() -> None:
    """Import, and split off a kernel for each line that comes in; end when no more can come."""
    urgent, *names = sys.argv[1:]
    # What is imported stays: looking through it for garbage, here and in each kernel, would copy pages and find none.
    gc.disable()
    # Both are read on import, of ipykernel and of matplotlib: who the parent is, and where pictures go.
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    # Nobody waits for the kernels here, and none may stay behind as a zombie.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in (*EVERY_KERNEL, *names[: int(urgent)]):
        _import(name)
    later = names[int(urgent) :]
    under_way: list[tuple[str, int]] = []
    requests = sys.stdin.buffer.raw
    waiting = b""
    while True:
        if (later or under_way) and not select.select([requests], [], [], 0 if later else POLL_SECONDS)[0]:
            if under_way and not psutil.pid_exists(under_way[0][1]):
                _call(under_way.pop(0)[0], apart=False)
            elif later and ":" in later[0]:
                under_way.append((later[0], _call_apart(later.pop(0), answers)))
            elif later:
                _import(later.pop(0))
            continue
        received = requests.read(1 << 16)
        if not received:
            return
        *lines, waiting = (waiting + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            gc.freeze()
            pid = os.fork()
            if pid == 0:
                gc.enable()
                answers.close()
                _become_another(**request)
            answers.write(f"{pid}\n")
            answers.flush()


def _import(name: str) -> None:
    # A module that cannot be imported is the notebook's to report.
    with contextlib.suppress(Exception):
        __import__(name)


def _call(name: str, apart: bool) -> None:
    # What it could not prepare is the step's to report.
    with contextlib.suppress(Exception):
        from duckbook.settings import settings

        module, function = name.split(":")
        getattr(importlib.import_module(module), function)(settings(), apart)


def _call_apart(name: str, answers: TextIO) -> int:
    """Call a function in a process of its own, while which kernels can be had; the id of that process."""
    if pid := os.fork():
        return pid
    with contextlib.suppress(BaseException):
        answers.close()
        sys.stdin.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # What it prepares is for later: the step that runs now goes first.
        os.nice(5)
        _call(name, apart=True)
    os._exit(0)


def _become_another(argv: list[str], cwd: str, env: dict[str, str], becomes: str | None) -> None:
    """Become a kernel, or a process that calls a function and ends."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        if becomes is None:
            sys.argv = ["ipykernel_launcher", *argv]

            from ipykernel.kernelapp import IPKernelApp

            IPKernelApp.launch_instance(argv=argv)
        else:
            module, function = becomes.split(":")
            getattr(importlib.import_module(module), function)(argv)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
