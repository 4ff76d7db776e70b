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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

SUPPORTED = sys.platform == "linux"

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
        Modules to import, the most urgent first. A name ``module:function`` is a function to call with the settings;
        kernels that are forked later inherit what it keeps in memory.
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

    def fork(self, argv: list[str], cwd: str, env: dict[str, str]) -> int:
        """Fork a kernel, and return its process id.

        Raises
        ------
        OSError
            The server is gone.
        """
        assert self._process.stdin and self._process.stdout
        with self._lock:
            try:
                self._process.stdin.write(json.dumps({"argv": argv, "cwd": cwd, "env": env}) + "\n")
                self._process.stdin.flush()
                return int(self._process.stdout.readline())
            except ValueError as error:
                raise OSError("the fork server is gone") from error

    def close(self) -> None:
        """Kill the server. The kernels that it forked notice and end."""
        if self._process.returncode is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        # A thread that waits in `fork` holds the lock until it reads the end of the pipe.
        with self._lock, contextlib.suppress(OSError):
            self._process.communicate()


class ForkedProcess(psutil.Process):
    """A forked kernel with the attributes of `Popen` that `LocalProvisioner` uses; its parent is the fork server."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        """Return None while it runs, then 1: only its parent can read the true exit status."""
        with contextlib.suppress(psutil.Error):
            if self.is_running() and self.status() != psutil.STATUS_ZOMBIE:
                return None
        return 1


class ForkServerProvisioner(LocalProvisioner):
    """Forks the kernel of a manager that has a `fork_server`; starts any other. Registered in pyproject.toml."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork or start the kernel."""
        server: ForkServer | None = getattr(self.parent, "fork_server", None)
        if server is not None:
            with contextlib.suppress(OSError, psutil.Error):
                argv = cmd[cmd.index("ipykernel_launcher") + 1 :]
                pid = server.fork(argv, str(kwargs["cwd"]), kwargs["env"])
                self.pid = self.pgid = pid  # type: ignore[assignment]
                self.process = ForkedProcess(pid)  # type: ignore[assignment]
                self.cwd = kwargs["cwd"]
                return self.connection_info
        return await super().launch_kernel(cmd, **kwargs)


def main() -> None:
    """Import, and fork a kernel per line of stdin until it closes."""
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
        _load(name)
    pending = names[int(urgent) :]
    while True:
        # A client sends no second request before it has the answer, so none waits in the buffer.
        if pending and not select.select([sys.stdin], [], [], 0)[0]:
            _load(pending.pop(0))
            continue
        request = sys.stdin.readline()
        if not request:
            return
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            gc.enable()
            answers.close()
            _run_kernel(**json.loads(request))
        answers.write(f"{pid}\n")
        answers.flush()


def _load(name: str) -> None:
    """Import a module or call a function; the notebook that needs it reports why it fails."""
    with contextlib.suppress(Exception):
        module, _, function = name.partition(":")
        imported = importlib.import_module(module)
        if function:
            from duckbook.settings import settings

            getattr(imported, function)(settings())


def _run_kernel(argv: list[str], cwd: str, env: dict[str, str]) -> None:
    """Run a kernel in this forked process, and exit."""
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
        sys.argv = ["ipykernel_launcher", *argv]

        from ipykernel.kernelapp import IPKernelApp

        IPKernelApp.launch_instance(argv=argv)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
