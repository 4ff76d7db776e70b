"""Kernels: forked or started, each fresh, and stopped with its process group."""

from __future__ import annotations

import base64
import os
import struct
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from duckbook.redaction import Redactor
from duckbook.runs import execution, fork_server
from duckbook.runs.execution import START_SECONDS, CellFailed, execute
from duckbook.runs.fork_server import ForkServer
from duckbook.runs.kernels import Kernel, environment
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
    client = NotebookClient(document, km=kernel.manager, timeout=60)
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
        assert kernel.process.ppid() == server.pid
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
        answers(kernel, "1")
        times = kernel.process.cpu_times()
        cpu_seconds.append(times.user + times.system)
        kernel.stop()
    assert cpu_seconds[0] < cpu_seconds[1] / 2


@pytest.mark.skipif(not fork_server.SUPPORTED, reason="forking after imports is safe only on Linux")
def test_kernels_share_what_a_function_prepared_before_they_were_forked(env, tmp_path):
    module = tmp_path / "prepared_for_kernels.py"
    module.write_text("import os\ncalls = []\ndef prepare(settings):\n    calls.append((os.getpid(), settings.seed))\n")
    path = {"PYTHONPATH": str(tmp_path)}
    server = ForkServer(["duckbook.analysis.notebook", "prepared_for_kernels:prepare"], 2, env | path)
    kernel = Kernel(tmp_path, env | path, fork_server=server)
    calls = answers(kernel, "import prepared_for_kernels; prepared_for_kernels.calls")[0][0]["text/plain"]
    kernel.stop()
    server.close()
    assert calls == f"[({server.pid}, 7)]"


def test_a_kernel_is_started_when_the_fork_server_is_gone(env, tmp_path):
    gone = ForkServer([], 0, env)
    gone.close()
    kernel = Kernel(tmp_path, env, fork_server=gone)
    assert answers(kernel, "print(1 + 1)")[0][0]["text"] == "2\n"
    assert kernel.process.ppid() == os.getpid()
    kernel.stop()


def test_a_kernel_imports_before_its_notebook_and_leaves_what_it_cannot_import_to_the_notebook(env, tmp_path):
    code = "import sys; print('colorsys' in sys.modules, [name for name in dir() if 'import' in name])"
    for imports in (("colorsys",), ("colorsys", "no_such_module")):
        kernel = Kernel(tmp_path, env, imports)
        assert answers(kernel, code)[0][0]["text"] == "True []\n"
        kernel.stop()


def test_a_stopped_kernel_leaves_no_process_and_no_file(env, tmp_path):
    kernel = Kernel(tmp_path, env)
    child = int(answers(kernel, "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)")[0][0]["text"])
    folder, own = kernel._folder, kernel.process.pid
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
    assert not kernel.process.is_running()


@pytest.mark.skipif(not fork_server.SUPPORTED, reason="forking after imports is safe only on Linux")
def test_output_of_the_first_cell_is_never_lost(server, env, tmp_path):
    outputs = []
    for _ in range(15):
        kernel = Kernel(tmp_path, env, fork_server=server)
        outputs += answers(kernel, "print('first')")
        kernel.stop()
    assert [output["text"] for cell in outputs for output in cell] == ["first\n"] * 15


def notebook(folder: Path) -> Path:
    kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")], metadata={"kernelspec": kernelspec})
    nbformat.write(document, folder / "in.ipynb")
    return folder / "in.ipynb"


def test_a_kernel_that_cannot_start_is_reported_at_once(env, tmp_path):
    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit(1)")
    kernel = Kernel(tmp_path, env | {"PYTHONPATH": str(tmp_path)})
    started = time.monotonic()
    with pytest.raises(CellFailed, match="The kernel failed: Kernel died before replying to kernel_info"):
        execute(notebook(tmp_path), tmp_path / "out.ipynb", {}, kernel, Redactor([]))
    kernel.stop()
    assert time.monotonic() - started < START_SECONDS / 2


def test_a_kernel_that_never_answers_is_reported(env, tmp_path, monkeypatch):
    (tmp_path / "ipykernel_launcher.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(execution, "START_SECONDS", 2)
    kernel = Kernel(tmp_path, env | {"PYTHONPATH": str(tmp_path)})
    with pytest.raises(CellFailed, match="The kernel failed: Kernel didn't respond in 2 seconds"):
        execute(notebook(tmp_path), tmp_path / "out.ipynb", {}, kernel, Redactor([]))
    kernel.stop()


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
