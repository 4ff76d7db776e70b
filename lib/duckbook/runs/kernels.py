"""Kernels: each notebook gets a fresh one of its own, started and warmed while the step before it still runs.

Warming is importing: what every notebook imports anyway is imported before the notebook begins. A kernel is used for
one notebook and then stopped, with everything that it started in its process group: nothing leaks from one to the next.
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
from duckbook.runs.fork_server import PROVISIONER, SUPPORTED, Zygote
from duckbook.settings import Settings

# For how long a kernel may start and import; one that ends meanwhile is not waited for.
START_SECONDS = 120

# How long a kernel may keep silent before it is asked again, or looked at whether it lives, in seconds.
PATIENCE = 0.25


class OwnEnvironment(KernelSpecManager):
    """The kernel is the environment that runs the chain, whatever kernels a person has installed elsewhere."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The same specification for every name."""
        # The log level silences a notice about unencrypted TCP; a history in memory saves opening a database.
        options = ["--IPKernelApp.log_level=40", "--HistoryManager.hist_file=:memory:"]
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", *options]
        provisioner = {"kernel_provisioner": {"provisioner_name": PROVISIONER}}
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python", metadata=provisioner)


class Manager(KernelManager):
    """A kernel manager that may have a zygote to get its kernel from."""

    zygote: Zygote | None = None


class AttentiveClient(AsyncKernelClient):
    """A client that is ready as soon as it hears its kernel."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until an answer of the kernel has come whole: a reply, and on the other channel that it is idle again.

        The library's own way listens for a fifth of a second for what may still come, once a notebook.

        Raises
        ------
        RuntimeError
            The kernel has ended, or does not answer within `timeout` seconds.
        """
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        asked, has_replied = {self.kernel_info()}, False
        while time.monotonic() < until:
            try:
                if not has_replied:
                    await self.get_shell_msg(timeout=PATIENCE)
                    has_replied = True
                elif _says_idle_after(asked, await self.get_iopub_msg(timeout=PATIENCE)):
                    return
            except Empty:
                if not await self.is_alive():
                    raise RuntimeError("it ended before it answered") from None
                # What it says before its channel is connected is lost, and so is the answer that a signal interrupts.
                asked.add(self.kernel_info())
        raise RuntimeError(f"it did not answer within {timeout:g} s")


def _says_idle_after(asked: set[str], message: dict) -> bool:
    return message["parent_header"].get("msg_id") in asked and message["content"].get("execution_state") == "idle"


class Kernel:
    """A kernel for one notebook; it starts in the background, and `ready` waits for it.

    Parameters
    ----------
    cwd
        Working folder of the kernel.
    env
        Its whole environment.
    imports
        Modules that are imported before the notebook begins.
    on_start
        Called with the id of its process and the folder of its sockets.
    zygote
        Where the kernel is split off, None to start it the ordinary way.
    """

    def __init__(
        self,
        cwd: Path,
        env: dict[str, str],
        imports: Iterable[str] = (),
        on_start: Callable[[int, Path], None] = lambda _pid, _folder: None,
        zygote: Zygote | None = None,
    ):
        # Sockets in a private folder: two kernels that start at once cannot take the same port, and no other user can
        # speak to them. A socket's path has at most about 100 characters, hence the system's temporary folder.
        self._folder = Path(tempfile.mkdtemp(prefix="duckbook-"))
        self.manager = Manager(
            transport="ipc",
            ip=str(self._folder / "k"),
            connection_file=str(self._folder / "kernel.json"),
            kernel_spec_manager=OwnEnvironment(),
            kernel_name="python3",
        )
        self.manager.zygote = zygote
        self.manager.client_factory = AttentiveClient
        self.usage: dict[str, float] = {}
        self.killed_because: str | None = None
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
                if self.killed_because:
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
        # The library's heartbeat, stopped before it has begun, opens sockets until there are no more.
        client.start_channels(hb=False)
        try:
            # An expression: it leaves no name behind. A module that cannot be imported is the notebook's to report.
            code = f"[__import__('importlib').import_module(name) for name in {self._imports!r}]"
            client.execute(code, silent=True, store_history=False)
            until = time.monotonic() + START_SECONDS
            while not self._has_answered(client):
                if self.is_dead():
                    raise RuntimeError("it ended before it answered")
                if time.monotonic() > until:
                    raise RuntimeError(f"it did not answer within {START_SECONDS} s")
        finally:
            client.stop_channels()

    @staticmethod
    def _has_answered(client: BlockingKernelClient) -> bool:
        try:
            client.get_shell_msg(timeout=PATIENCE)
        except Empty:
            return False
        return True

    def ready(self) -> KernelManager:
        """Wait until the kernel is warm, and give the manager that a notebook is executed with.

        Raises
        ------
        ChainError
            The kernel does not start.
        """
        self._thread.join()
        if self._failure is not None and self.killed_because is None:
            self.stop()
            raise ChainError(f"A kernel does not start: {self._failure}. Try `.venv/bin/python -m ipykernel_launcher`.")
        return self.manager

    def is_dead(self) -> bool:
        """Whether it has ended before it was of any use, so that another one is wanted."""
        process = self._process
        try:
            return process is not None and (not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True

    def sample(self) -> None:
        """Look at the memory that the kernel holds now, and at what it has read from files and written to them."""
        with contextlib.suppress(psutil.Error):
            if self._process is not None:
                resident = round(self._process.memory_info().rss / 1e6, 1)
                self.usage["peak_rss_mb"] = max(self.usage.get("peak_rss_mb", 0.0), resident)
                # macOS does not tell it.
                if hasattr(self._process, "io_counters"):
                    done = self._process.io_counters()
                    self.usage |= {"read_mb": round(done.read_chars / 1e6, 1)}
                    self.usage |= {"written_mb": round(done.write_chars / 1e6, 1)}

    def kill(self, because: str | None = None) -> None:
        """End the kernel now, with all that it started in its group."""
        self.killed_because = self.killed_because or because or "stopped"
        with self._lock:
            process = self._process
        if process is None:
            return
        # A kernel leads a group of its own; embedded servers that it started lead theirs, and live on.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(psutil.Error):
            process.wait(5)

    def stop(self) -> None:
        """End the kernel and give back its sockets and files."""
        self.kill()
        self._thread.join(5)
        with contextlib.suppress(Exception):
            self.manager.cleanup_resources()
        shutil.rmtree(self._folder, ignore_errors=True)


def imports_of(step: Step) -> tuple[str, ...]:
    """The modules that a step's kernel imports before the notebook begins: the notebook's own, and the chain's."""
    return tuple(dict.fromkeys((*imported_by(step.notebook), *step.imports)))


def _shared(step: Step) -> list[str]:
    """What a zygote may import for a step: a module of a person's own may start threads, or hold on to its process."""
    ours = {"duckbook", "pandas", "sql"}
    return [name for name in imports_of(step) if name in step.imports or name.split(".")[0] in ours]


def environment(settings_env: dict[str, str], ipython_dir: Path) -> dict[str, str]:
    """The environment of a kernel: the chain's own, without what would make a notebook depend on the person.

    Parameters
    ----------
    settings_env
        Variables of the run, such as ``DUCKBOOK_RUN_DIR``.
    ipython_dir
        Folder of an IPython profile of the store's own, instead of ``~/.ipython`` with its start-up files.
    """
    # PYTHONDONTWRITEBYTECODE makes every kernel compile its imports; jupysql connects to DATABASE_URL by itself.
    unwanted = {"PYTHONDONTWRITEBYTECODE", "DATABASE_URL", "MPLBACKEND", "PYTHONSTARTUP"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    # Kernels side by side on all the cores wait for each other's threads most of their time: see analysis.science.
    kept.setdefault("OMP_NUM_THREADS", "1")
    return kept | {"IPYTHONDIR": str(ipython_dir), "DO_NOT_TRACK": "1"} | settings_env


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment of whatever works for a store."""
    chosen = {"DATA": str(settings.data), "RUNS": str(settings.runs), "TARGET": settings.target}
    return environment({f"DUCKBOOK_{name}": value for name, value in chosen.items()}, settings.data / "ipython")


@contextlib.contextmanager
def mother(settings: Settings, steps: list[Step]) -> Iterator[Zygote | None]:
    """Where the kernels of these steps are split off, while the block runs: it pays once what importing costs each.

    It changes nothing, so it imports while a run is still checked. None where kernels are started the ordinary way.
    """
    if not SUPPORTED or len(steps) < 2:
        yield None
        return
    urgent = _shared(steps[0])
    later = [name for step in steps[1:] for name in (*_shared(step), step.prepare) if name]
    found = Zygote(dict.fromkeys([*urgent, *later]), len(urgent), environment_of(settings))
    try:
        yield found
    finally:
        found.close()
