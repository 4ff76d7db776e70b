"""Kernels: a fresh one per notebook, killed with its process group after it, so that nothing leaks into the next."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from duckbook.errors import ChainError, reason
from duckbook.runs.chain import Step
from duckbook.runs.codebase import imported_by
from duckbook.runs.fork_server import SUPPORTED, ForkServer
from duckbook.settings import Settings


class CurrentInterpreter(KernelSpecManager):
    """Kernel specs for the interpreter that runs the chain; installed kernels are ignored.

    Parameters
    ----------
    imports
        Modules to import when a kernel starts. A notebook reports why one of its modules cannot be imported.
    """

    def __init__(self, imports: Iterable[str]):
        super().__init__()
        self._imports = tuple(imports)

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the same spec for every name."""
        # An expression that defines no name and has no value to show.
        imports = f"None if [__import__('importlib').import_module(name) for name in {self._imports!r}] else None"
        options = [
            "--IPKernelApp.log_level=40",  # silences a notice about unencrypted TCP
            "--HistoryManager.hist_file=:memory:",  # saves opening a database
            f"--IPKernelApp.exec_lines={imports}",
        ]
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", *options]
        provisioner = {"kernel_provisioner": {"provisioner_name": "duckbook-fork-server"}}
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python", metadata=provisioner)


class ForkServerKernelManager(KernelManager):
    """A kernel manager that may have a fork server to get its kernel from."""

    fork_server: ForkServer | None = None


class Kernel:
    """A kernel for one notebook, which imports while the step before it still runs.

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

    Raises
    ------
    ChainError
        No further process can be started, or it ended at once.
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
            kernel_spec_manager=CurrentInterpreter(imports),
            kernel_name="python3",
            client_class="jupyter_client.asynchronous.AsyncKernelClient",
        )
        self.manager.fork_server = fork_server
        self.usage: dict[str, float] = {}
        self.kill_reason: str | None = None
        try:
            self.manager.start_kernel(cwd=str(cwd), env=env)
            assert isinstance(self.manager.provisioner, LocalProvisioner)
            self.process = psutil.Process(self.manager.provisioner.pid)
        except Exception as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ChainError(
                f"A kernel did not start: {reason(error)}. Try `.venv/bin/python -m ipykernel_launcher`."
            ) from error
        on_start(self.process.pid, self._folder)

    def is_dead(self) -> bool:
        """Whether its process has ended."""
        try:
            return not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def sample(self) -> None:
        """Update `usage` with the peak memory and the MB read from and written to files."""
        with contextlib.suppress(psutil.Error):
            resident = round(self.process.memory_info().rss / 1e6, 1)
            self.usage["peak_rss_mb"] = max(self.usage.get("peak_rss_mb", 0.0), resident)
            # Not on macOS.
            if hasattr(self.process, "io_counters"):
                counters = self.process.io_counters()
                self.usage["read_mb"] = round(counters.read_chars / 1e6, 1)
                self.usage["written_mb"] = round(counters.write_chars / 1e6, 1)

    def kill(self, reason: str = "stopped") -> None:
        """Kill the kernel and its process group; the first reason is kept."""
        self.kill_reason = self.kill_reason or reason
        # Embedded servers that the kernel started have process groups of their own, and go on.
        with contextlib.suppress(psutil.Error, PermissionError):
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:  # forked a moment ago, and not yet the leader of a group
                self.process.kill()
            self.process.wait(5)

    def stop(self) -> None:
        """Kill the kernel and remove its sockets and files, unless that was done."""
        if not self._folder.exists():
            return
        self.kill()
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
    """The environment of kernels and other processes that work on the data folder of these settings."""
    chosen = {"DATA": str(settings.data), "RUNS": str(settings.runs), "TARGET": settings.target}
    return environment({f"DUCKBOOK_{name}": value for name, value in chosen.items()}, settings.data / "ipython")


@contextlib.contextmanager
def start_fork_server(settings: Settings, steps: list[Step]) -> Iterator[ForkServer | None]:
    """Context manager for a fork server with the imports of these steps; None if kernels are started.

    It changes no data, so it can start before the run has been checked.
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
