"""Kernels: a fresh one per notebook, started and warmed while the step before it still runs.

Warming a kernel imports the notebook's modules before the notebook begins. After its one notebook a kernel is killed
with its process group, so that nothing leaks into the next.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Empty

import psutil
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

from duckbook.errors import ChainError
from duckbook.runs.chain import Step
from duckbook.runs.codebase import imported_by
from duckbook.runs.fork_server import PROVISIONER, SUPPORTED, ForkServer
from duckbook.settings import Settings

START_SECONDS = 120
"""How long a kernel may take to start and import, unless it ends before."""

MESSAGE_TIMEOUT = 0.25
"""How long to wait for a message before checking that the kernel is alive, and asking again."""


class CurrentInterpreter(KernelSpecManager):
    """Kernel specs for the interpreter that runs the chain; installed kernels are ignored."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the same spec for every name."""
        # The log level silences a notice about unencrypted TCP; a history in memory saves opening a database.
        options = ["--IPKernelApp.log_level=40", "--HistoryManager.hist_file=:memory:"]
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", *options]
        provisioner = {"kernel_provisioner": {"provisioner_name": PROVISIONER}}
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python", metadata=provisioner)


class ForkServerKernelManager(KernelManager):
    """A kernel manager that may have a fork server to get its kernel from."""

    fork_server: ForkServer | None = None


class QuickClient(AsyncKernelClient):
    """A client that is ready at the kernel's first answer."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait for a reply on the shell channel and the idle status on the IOPub channel.

        jupyter_client's own method then listens for another fifth of a second per notebook.

        Raises
        ------
        RuntimeError
            The kernel has ended, or does not answer within `timeout` seconds.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        request_ids, has_replied = {self.kernel_info()}, False
        while time.monotonic() < deadline:
            try:
                if not has_replied:
                    await self.get_shell_msg(timeout=MESSAGE_TIMEOUT)
                    has_replied = True
                elif _is_idle_status(await self.get_iopub_msg(timeout=MESSAGE_TIMEOUT), request_ids):
                    return
            except Empty:
                if not await self.is_alive():
                    raise RuntimeError("it ended before it answered") from None
                # Messages sent before the channel is connected are lost, and so is an answer that a signal interrupts.
                request_ids.add(self.kernel_info())
        raise RuntimeError(f"it did not answer within {timeout:g} s")


def _is_idle_status(message: dict, request_ids: set[str]) -> bool:
    return message["parent_header"].get("msg_id") in request_ids and message["content"].get("execution_state") == "idle"


class Kernel:
    """A kernel for one notebook, which starts in the background; `ready` waits for it.

    Parameters
    ----------
    env
        The whole environment of the kernel.
    imports
        Modules to import before the notebook begins.
    on_start
        Called with its process id and the folder of its sockets.
    fork_server
        Server to fork the kernel from; None to start it.
    """

    def __init__(
        self,
        cwd: Path,
        env: dict[str, str],
        imports: Iterable[str] = (),
        on_start: Callable[[int, Path], None] = lambda _pid, _folder: None,
        fork_server: ForkServer | None = None,
    ):
        # Unix sockets in a private folder: no port conflicts, and no other user can connect. Socket paths are limited
        # to about 100 characters, so the folder is in the system's temporary folder.
        self._folder = Path(tempfile.mkdtemp(prefix="duckbook-"))
        self.manager = ForkServerKernelManager(
            transport="ipc",
            ip=str(self._folder / "k"),
            connection_file=str(self._folder / "kernel.json"),
            kernel_spec_manager=CurrentInterpreter(),
            kernel_name="python3",
        )
        self.manager.fork_server = fork_server
        self.manager.client_factory = QuickClient
        self.usage: dict[str, float] = {}
        self.kill_reason: str | None = None
        self._process: psutil.Process | None = None
        self._failure: Exception | None = None
        self._imports = tuple(imports)
        self._on_start = on_start
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._start, args=(cwd, env), daemon=True)
        self._thread.start()

    def _start(self, cwd: Path, env: dict[str, str]) -> None:
        try:
            with self._lock:
                if self.kill_reason:
                    return
                self.manager.start_kernel(cwd=str(cwd), env=env)
                self._process = psutil.Process(self.manager.provisioner.pid)
                self._on_start(self._process.pid, self._folder)
            self._warm()
        except Exception as error:
            self._failure = error

    def _warm(self) -> None:
        client = BlockingKernelClient(parent=self.manager)
        client.load_connection_info(self.manager.get_connection_info())
        # jupyter_client's heartbeat opens sockets endlessly if it is stopped before it has begun.
        client.start_channels(hb=False)
        try:
            # An expression defines no name. The notebook reports why a module cannot be imported.
            code = f"[__import__('importlib').import_module(name) for name in {self._imports!r}]"
            client.execute(code, silent=True, store_history=False)
            deadline = time.monotonic() + START_SECONDS
            while not self._has_answered(client):
                if self.is_dead():
                    raise RuntimeError("it ended before it answered")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"it did not answer within {START_SECONDS} s")
        finally:
            client.stop_channels()

    @staticmethod
    def _has_answered(client: BlockingKernelClient) -> bool:
        try:
            client.get_shell_msg(timeout=MESSAGE_TIMEOUT)
        except Empty:
            return False
        return True

    def ready(self) -> KernelManager:
        """Wait until the kernel is warm, and return its manager.

        Raises
        ------
        ChainError
            The kernel did not start.
        """
        self._thread.join()
        if self._failure is not None and self.kill_reason is None:
            self.stop()
            raise ChainError(f"A kernel did not start: {self._failure}. Try `.venv/bin/python -m ipykernel_launcher`.")
        return self.manager

    def is_dead(self) -> bool:
        """Whether its process has ended."""
        process = self._process
        try:
            return process is not None and (not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def sample(self) -> None:
        """Update `usage` with the peak memory and the MB read from and written to files."""
        with contextlib.suppress(psutil.Error):
            if self._process is not None:
                resident = round(self._process.memory_info().rss / 1e6, 1)
                self.usage["peak_rss_mb"] = max(self.usage.get("peak_rss_mb", 0.0), resident)
                # Not on macOS.
                if hasattr(self._process, "io_counters"):
                    counters = self._process.io_counters()
                    self.usage["read_mb"] = round(counters.read_chars / 1e6, 1)
                    self.usage["written_mb"] = round(counters.write_chars / 1e6, 1)

    def kill(self, reason: str | None = None) -> None:
        """Kill the kernel and its process group."""
        self.kill_reason = self.kill_reason or reason or "stopped"
        with self._lock:
            process = self._process
        if process is None:
            return
        # Embedded servers that the kernel started have process groups of their own, and go on.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(psutil.Error):
            process.wait(5)

    def stop(self) -> None:
        """Kill the kernel and remove its sockets and files."""
        self.kill()
        self._thread.join(5)
        with contextlib.suppress(Exception):
            self.manager.cleanup_resources()
        shutil.rmtree(self._folder, ignore_errors=True)


def imports_of(step: Step) -> tuple[str, ...]:
    """Modules that a step's kernel imports before the notebook begins."""
    return tuple(dict.fromkeys((*imported_by(step.notebook), *step.imports)))


def _shared_imports(step: Step) -> list[str]:
    """The imports of a step that are safe to fork; a user's own module may start threads or remember its process."""
    safe = {"duckbook", "pandas", "sql"}
    return [name for name in imports_of(step) if name in step.imports or name.split(".")[0] in safe]


def environment(settings_env: dict[str, str], ipython_dir: Path) -> dict[str, str]:
    """The environment of a kernel: that of this process, without personal configuration.

    Parameters
    ----------
    settings_env
        Variables of the run, such as ``DUCKBOOK_RUN_DIR``.
    ipython_dir
        IPython's folder, in place of ``~/.ipython`` with its startup files.
    """
    # PYTHONDONTWRITEBYTECODE makes every kernel compile its imports; jupysql connects to DATABASE_URL unasked.
    unwanted = {"PYTHONDONTWRITEBYTECODE", "DATABASE_URL", "MPLBACKEND", "PYTHONSTARTUP"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    # Parallel kernels that each use all cores mostly wait for one another: see analysis.science.
    kept.setdefault("OMP_NUM_THREADS", "1")
    return kept | {"IPYTHONDIR": str(ipython_dir), "DO_NOT_TRACK": "1"} | settings_env


def settings_environment(settings: Settings) -> dict[str, str]:
    """The environment of kernels and background calls that work on the data folder of these settings."""
    chosen = {"DATA": str(settings.data), "RUNS": str(settings.runs), "TARGET": settings.target}
    return environment({f"DUCKBOOK_{name}": value for name, value in chosen.items()}, settings.data / "ipython")


@contextlib.contextmanager
def start_fork_server(settings: Settings, steps: list[Step]) -> Iterator[ForkServer | None]:
    """Context manager for a fork server with the imports of these steps; None if kernels are started.

    It changes nothing, so it can start before the run has been checked.
    """
    if not SUPPORTED or len(steps) < 2:
        yield None
        return
    urgent = _shared_imports(steps[0])
    later = [name for step in steps[1:] for name in (*_shared_imports(step), step.prepare) if name]
    server = ForkServer(dict.fromkeys([*urgent, *later]), len(urgent), settings_environment(settings))
    try:
        yield server
    finally:
        server.close()
