"""Kernels: forked or started, each fresh, and stopped with its process group."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
import sys
import threading
import time
from pathlib import Path
from queue import Empty

import nbformat
import psutil
import pytest
from duckbook.errors import ChainError
from duckbook.runs import fork_server
from duckbook.runs.fork_server import ForkServer
from duckbook.runs.kernels import MESSAGE_TIMEOUT, START_SECONDS, Kernel, QuickClient, environment
from jupyter_client.channels import HBChannel
from nbclient import NotebookClient

IMPORTS = ("duckbook.analysis.notebook", "duckbook.backends.warehouse", "pandas", "sql.magic")


@pytest.fixture(scope="module")
def env(tmp_path_factory) -> dict[str, str]:
    return environment({"DUCKBOOK_SEED": "7"}, tmp_path_factory.mktemp("ipython"))


@pytest.fixture(scope="module")
def server(env):
    server = ForkServer(IMPORTS, len(IMPORTS), env)
    yield server
    server.close()


def answers(kernel: Kernel, *cells: str) -> list[list[dict]]:
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(document, km=kernel.ready(), timeout=60)
    client.execute(cleanup_kc=False)
    client.kc.stop_channels()
    return [[output.get("data", output) for output in cell.outputs] for cell in document.cells]


@pytest.mark.skipif(not fork_server.SUPPORTED, reason="forking after imports is safe only on Linux")
def test_kernels_of_one_fork_server_are_fresh_and_draw(server, env, tmp_path):
    cells = (
        "import os, sys; print(os.getcwd(), os.environ['DUCKBOOK_SEED'], 'leak' in dir(), hasattr(sys, 'leak'))",
        "leak = 1; sys.leak = 1; os.environ['DUCKBOOK_SEED'] = '8'",
        "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
        "import random, numpy; print(random.random())",
    )
    drawn = []
    for _ in range(2):
        kernel = Kernel(tmp_path, env, IMPORTS, fork_server=server)
        found = answers(kernel, *cells)
        assert kernel._process.ppid() == server.pid
        kernel.stop()
        assert found[0][0]["text"] == f"{tmp_path} 7 False False\n"
        assert any("image/png" in output for output in found[2])
        drawn.append(found[3][0]["text"])
    assert drawn[0] != drawn[1], "forked kernels do not share a random state"


@pytest.mark.skipif(not fork_server.SUPPORTED, reason="forking after imports is safe only on Linux")
def test_a_forked_kernel_is_warm_in_a_fraction_of_the_time(server, env, tmp_path):
    kernels = [Kernel(tmp_path, env, IMPORTS, fork_server=parent) for parent in (server, None)]
    cpu_seconds = []
    for kernel in kernels:
        kernel.ready()
        times = kernel._process.cpu_times()
        cpu_seconds.append(times.user + times.system)
        kernel.stop()
    assert cpu_seconds[0] < cpu_seconds[1] / 2


@pytest.mark.skipif(not fork_server.SUPPORTED, reason="forking after imports is safe only on Linux")
def test_kernels_share_what_a_function_prepared_before_they_were_forked(env, tmp_path):
    module = tmp_path / "prepared_for_kernels.py"
    statement = "calls.append((os.getpid(), settings.seed, trial))"
    module.write_text(f"import os\ncalls = []\ndef prepare(settings, trial):\n    {statement}\n")
    path = {"PYTHONPATH": str(tmp_path)}
    server = ForkServer(["duckbook.analysis.notebook", "prepared_for_kernels:prepare"], 1, env | path)
    calls = "[]"
    while calls == "[]":
        kernel = Kernel(tmp_path, env | path, fork_server=server)
        calls = answers(kernel, "import prepared_for_kernels; prepared_for_kernels.calls")[0][0]["text/plain"]
        kernel.stop()
    server.close()
    assert calls == f"[({server.pid}, 7, False)]"


def test_a_kernel_is_started_when_the_fork_server_is_gone(env, tmp_path):
    gone = ForkServer([], 0, env)
    gone.close()
    kernel = Kernel(tmp_path, env, fork_server=gone)
    assert answers(kernel, "print(1 + 1)")[0][0]["text"] == "2\n"
    assert kernel._process.ppid() == os.getpid()
    kernel.stop()


def test_a_kernel_warms_without_errors_where_threads_start_late(env, tmp_path, monkeypatch):
    """On a busy machine a heartbeat would be stopped before it has begun, and then never end."""
    errors, beats = [], HBChannel._async_run

    async def late(channel: HBChannel) -> None:
        time.sleep(1)
        await beats(channel)

    monkeypatch.setattr(HBChannel, "_async_run", late)
    monkeypatch.setattr(threading, "excepthook", errors.append)
    kernel = Kernel(tmp_path, env)
    kernel.ready()
    kernel.stop()
    assert errors == []


def test_a_stopped_kernel_leaves_no_process_and_no_file(env, tmp_path):
    kernel = Kernel(tmp_path, env)
    child = int(answers(kernel, "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)")[0][0]["text"])
    folder, own = kernel._folder, kernel._process.pid
    kernel.sample()
    kernel.stop()
    time.sleep(0.1)
    for pid in (child, own):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not folder.exists()
    assert kernel.usage["peak_rss_mb"] > 20
    if sys.platform == "linux":
        assert kernel.usage["written_mb"] >= 0 < kernel.usage["read_mb"]


def test_a_kernel_that_is_killed_while_it_starts_is_gone(env, tmp_path):
    kernel = Kernel(tmp_path, env)
    kernel.kill("interrupted")
    kernel.stop()
    assert kernel.kill_reason == "interrupted"
    assert kernel._process is None or not kernel._process.is_running()


@pytest.mark.skipif(not fork_server.SUPPORTED, reason="forking after imports is safe only on Linux")
def test_output_of_the_first_cell_is_never_lost(server, env, tmp_path):
    outputs = []
    for _ in range(15):
        kernel = Kernel(tmp_path, env, fork_server=server)
        outputs += answers(kernel, "print('first')")
        kernel.stop()
    assert [output["text"] for cell in outputs for output in cell] == ["first\n"] * 15


def test_a_kernel_that_cannot_start_is_reported_at_once(env, tmp_path):
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit(1)")
    started = time.monotonic()
    with pytest.raises(ChainError, match="A kernel did not start: it ended before it answered"):
        Kernel(tmp_path, env | {"PYTHONPATH": str(tmp_path)}).ready()
    assert time.monotonic() - started < START_SECONDS / 2


class FakeClient(QuickClient):
    """A client whose kernel answers slowly, and whose first IOPub messages may be lost."""

    def __init__(self, seconds: float = 0.0, lost: int = 0, lives: bool = True):
        super().__init__()
        self.requests: list[str] = []
        self._seconds, self._lost, self._lives = seconds, lost, lives
        self._idle_at = 0.0
        self._replies: list[tuple[float, dict]] = []
        self._statuses: list[tuple[float, dict]] = []

    def kernel_info(self) -> str:
        self.requests.append(f"request {len(self.requests)}")
        self._idle_at = max(self._idle_at, time.monotonic()) + self._seconds
        parent = {"parent_header": {"msg_id": self.requests[-1]}}
        self._replies.append((self._idle_at, parent))
        if len(self.requests) > self._lost:
            self._statuses += [
                (self._idle_at, parent | {"content": {"execution_state": is_}}) for is_ in ("busy", "idle")
            ]
        return self.requests[-1]

    async def get_shell_msg(self, timeout: float) -> dict:
        return await self._next(self._replies, timeout)

    async def get_iopub_msg(self, timeout: float) -> dict:
        return await self._next(self._statuses, timeout)

    async def is_alive(self) -> bool:
        return self._lives

    async def _next(self, queue: list[tuple[float, dict]], timeout: float) -> dict:
        wait = queue[0][0] - time.monotonic() if queue else timeout + 1
        await asyncio.sleep(max(0.0, min(wait, timeout)))
        if wait > timeout:
            raise Empty
        return queue.pop(0)[1]


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5, 3.0])
def test_a_client_is_ready_once_a_kernel_answers_even_if_messages_are_lost(seconds, lost):
    client = FakeClient(seconds=seconds * MESSAGE_TIMEOUT, lost=lost)
    asyncio.run(client.wait_for_ready(timeout=60 * MESSAGE_TIMEOUT))
    assert len(client.requests) >= lost + 1


@pytest.mark.parametrize(
    ("client", "error"),
    [
        (FakeClient(lost=1000), "it did not answer within 2 s"),
        (FakeClient(99, lives=False), "it ended before it answered"),
    ],
)
def test_a_client_reports_whether_a_kernel_has_ended_or_is_silent(client, error):
    with pytest.raises(RuntimeError, match=error):
        asyncio.run(client.wait_for_ready(timeout=2))
    assert len(client.requests) <= 2 / MESSAGE_TIMEOUT + 2


def test_a_chart_is_as_large_as_its_figure_and_those_of_others_are_cut(env, tmp_path):
    ours = "from duckbook.analysis import plotting; plotting.chart('Seven', size=(7, 3)).plot([1, 2]); plotting.show()"
    theirs = "import matplotlib.pyplot as plt; plt.figure(figsize=(7, 3)); plt.plot([1, 2]); plt.show()"
    kernel = Kernel(tmp_path, env)
    try:
        outputs = answers(kernel, ours, theirs)
    finally:
        kernel.stop()
    sizes = [struct.unpack(">II", base64.b64decode(output[-1]["image/png"])[16:24]) for output in outputs]
    assert sizes[0] == (1400, 600) != sizes[1]


def test_a_kernel_depends_on_no_personal_configuration(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found = environment({"DUCKBOOK_RUN_ID": "x"}, Path("here"))
    assert not {"DATABASE_URL", "PYTHONDONTWRITEBYTECODE"} & set(found)
    assert (found["DUCKBOOK_RUN_ID"], found["IPYTHONDIR"]) == ("x", "here")


def test_parallel_kernels_use_one_thread_each_unless_set(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment({}, Path("here"))["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert environment({}, Path("here"))["OMP_NUM_THREADS"] == "8"
