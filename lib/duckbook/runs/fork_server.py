"""A process that has imported what notebooks import, and forks kernels from it in milliseconds.

Imports cost each kernel seconds of CPU time; the fork server pays them once. A forked kernel has its own folder,
environment and process group. It shares only the imported modules, copy-on-write, so that no notebook affects the
next. Forking after imports is safe on Linux. On other systems, and if the server fails, kernels are started.
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

PROVISIONER = "duckbook-fork-server"

SUPPORTED = sys.platform == "linux"

POLL_SECONDS = 0.1

KERNEL_IMPORTS = (
    *("ipykernel.kernelapp", "ipykernel.zmqshell", "ipykernel.debugger", "IPython.core.completerlib"),
    *("IPython.core.debugger", "IPython.core.oinspect", "sqlite3", "wcwidth"),
)
"""What every kernel imports to start, and to show its first query result (``wcwidth``)."""


class ForkServer:
    """The client side of a fork server.

    Parameters
    ----------
    imports
        Modules to import, the most urgent first. A name ``module:function`` is a function to call instead, with the
        settings and whether this is the trial call: first in a child process, so that slow work does not delay
        kernels, then in the server, whose kernels inherit what the function keeps in memory.
    urgent
        Number of imports to finish before the first kernel is forked.
    env
        Environment while importing.
    """

    def __init__(self, imports: Iterable[str], urgent: int, env: dict[str, str]):
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            # -P: do not import from the current folder.
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
        """Process id of the server, which leads its own process group."""
        return self._process.pid

    def fork(self, argv: list[str], cwd: str, env: dict[str, str], function: str | None = None) -> int:
        """Fork a kernel, or a process that calls a function, and return its process id.

        Parameters
        ----------
        function
            The function, ``module:function``, which takes `argv`; None for a kernel.

        Raises
        ------
        OSError
            The server is gone.
        """
        request = {"argv": argv, "cwd": cwd, "env": env, "function": function}
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
                return int(self._process.stdout.readline())
            except ValueError as error:
                raise OSError("the fork server is gone") from error

    def close(self) -> None:
        """Kill the server and its pending calls. Kernels it forked go on."""
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        # A thread that waits in `fork` holds the lock until it reads the end of the pipe.
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()


class ForkedProcess:
    """A forked kernel with the `Popen` methods that `LocalProvisioner` calls; its parent is the fork server."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid
        self.returncode: int | None = None
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """Return None while it runs, then 1: only its parent can read the true exit status."""
        with contextlib.suppress(psutil.Error):
            if self._process and self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
                return None
        self.returncode = 1
        return self.returncode

    def wait(self) -> int:
        """Wait until it has ended."""
        while self.poll() is None:
            time.sleep(0.05)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to this process only."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


class ForkServerProvisioner(LocalProvisioner):
    """Forks the kernel of a manager that has a `fork_server`; starts any other."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork or start the kernel."""
        server: ForkServer | None = getattr(self.parent, "fork_server", None)
        if server is not None:
            with contextlib.suppress(OSError):
                argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
                self.pid = self.pgid = server.fork(argv, str(kwargs["cwd"]), kwargs["env"])
                self.process = ForkedProcess(self.pid)
                self.cwd = kwargs["cwd"]
                return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)


KernelProvisionerFactory.provisioners[PROVISIONER] = EntryPoint(
    PROVISIONER, "duckbook.runs.fork_server:ForkServerProvisioner", KernelProvisionerFactory.GROUP_NAME
)


def main() -> None:
    """Import, and fork a process per line of stdin until it closes."""
    urgent, *names = sys.argv[1:]
    # Imported modules are never garbage, and collecting would copy shared pages in every kernel.
    gc.disable()
    # ipykernel and matplotlib read these on import.
    os.environ["JPY_PARENT_PID"] = str(os.getpid())
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    # Nothing here waits for the children, and none may remain as a zombie.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in (*KERNEL_IMPORTS, *names[: int(urgent)]):
        _import(name)
    pending = names[int(urgent) :]
    trial_calls: list[tuple[str, int]] = []
    requests = sys.stdin.buffer.raw
    unfinished_line = b""
    while True:
        if (pending or trial_calls) and not select.select([requests], [], [], 0 if pending else POLL_SECONDS)[0]:
            if trial_calls and not psutil.pid_exists(trial_calls[0][1]):
                _call(trial_calls.pop(0)[0], trial=False)
            elif pending and ":" in pending[0]:
                trial_calls.append((pending[0], _call_in_child(pending.pop(0), answers)))
            elif pending:
                _import(pending.pop(0))
            continue
        received = requests.read(1 << 16)
        if not received:
            return
        *lines, unfinished_line = (unfinished_line + received).split(b"\n")
        for line in lines:
            request = json.loads(line)
            gc.freeze()
            pid = os.fork()
            if pid == 0:
                gc.enable()
                answers.close()
                _run_child(**request)
            answers.write(f"{pid}\n")
            answers.flush()


def _import(name: str) -> None:
    # The notebook that needs the module reports why it cannot be imported.
    with contextlib.suppress(Exception):
        __import__(name)


def _call(name: str, trial: bool) -> None:
    # The step that needs the preparation reports why it fails.
    with contextlib.suppress(Exception):
        from duckbook.settings import settings

        module, function = name.split(":")
        getattr(importlib.import_module(module), function)(settings(), trial)


def _call_in_child(name: str, answers: TextIO) -> int:
    """Make the trial call of a function in a child process, and return the child's process id."""
    if pid := os.fork():
        return pid
    with contextlib.suppress(BaseException):
        answers.close()
        sys.stdin.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # The step that runs now goes first.
        os.nice(5)
        _call(name, trial=True)
    os._exit(0)


def _run_child(argv: list[str], cwd: str, env: dict[str, str], function: str | None) -> None:
    """Run a kernel, or call a function, in this forked process, and exit."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        if function is None:
            sys.argv = ["ipykernel_launcher", *argv]

            from ipykernel.kernelapp import IPKernelApp

            IPKernelApp.launch_instance(argv=argv)
        else:
            module, name = function.split(":")
            getattr(importlib.import_module(module), name)(argv)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
