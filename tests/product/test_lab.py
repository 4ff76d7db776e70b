"""The notebooks in JupyterLab, as a person runs them: opened one after the other, each by Run All Cells."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from chains import duckbook
from duckbook.ops.committed_outputs import is_canonical
from duckbook.runs.chain import CHAIN_FILE, read_chain

CELLS = """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells.filter(
    cell => cell.cell_type === 'code').map(cell => ({
        count: cell.execution_count,
        error: cell.outputs.filter(output => output.output_type === 'error').map(output => output.evalue).join()}))"""
READY = """name => {
    const shown = window.jupyterapp?.shell.currentWidget;
    return shown?.context?.path === name && shown.sessionContext.session?.kernel?.status === 'idle'}"""


@pytest.fixture
def lab(start_shop, tmp_path) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of a JupyterLab that `make lab` opened on an empty data folder; nothing is saved in it."""
    runtime = Path(tempfile.mkdtemp())
    shop = start_shop("lab", customers=200)
    (tmp_path / "jupyter_lab_config.json").write_text(
        json.dumps({"LabApp": {"expose_app_in_browser": True, "open_browser": False}}), "utf-8"
    )
    docmanager = tmp_path / "settings" / "@jupyterlab" / "docmanager-extension"
    docmanager.mkdir(parents=True)
    (docmanager / "plugin.jupyterlab-settings").write_text('{"autosave": false}', "utf-8")
    process = duckbook(
        shop,
        "lab",
        JUPYTER_CONFIG_DIR=str(tmp_path),
        JUPYTER_RUNTIME_DIR=str(runtime),
        JUPYTERLAB_SETTINGS_DIR=str(tmp_path / "settings"),
        JUPYTERLAB_WORKSPACES_DIR=str(tmp_path / "workspaces"),
        DUCKBOOK_CUSTOMERS="200",
    )
    try:
        yield address(runtime), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=60)
        shutil.rmtree(runtime)


def address(runtime: Path) -> str:
    for _ in range(300):
        for file in runtime.glob("jpserver-*.json"):
            server = json.loads(file.read_text("utf-8"))
            return f"{server['url']}lab?reset&token={server['token']}"
        time.sleep(0.2)
    pytest.fail("JupyterLab did not start within a minute")


def run_all_cells(tab, name: str) -> list[dict]:
    """Open a notebook, clear what was committed, choose Run All Cells; its code cells when all ran or one failed."""
    tab.evaluate("async path => { await window.jupyterapp.commands.execute('docmanager:open', { path }) }", name)
    tab.wait_for_function(READY, arg=name, timeout=60_000)
    choose(tab, "Edit", "Clear Outputs of All Cells")
    choose(tab, "Run", "Run All Cells")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        cells = tab.evaluate(CELLS)
        if all(cell["count"] for cell in cells) or any(cell["error"] for cell in cells):
            return cells
        time.sleep(0.3)
    pytest.fail(f"the cells of {name} did not end within two minutes")


def choose(tab, menu: str, item: str) -> None:
    tab.get_by_role("menuitem", name=menu, exact=True).click()
    tab.get_by_role("menuitem", name=item, exact=True).click()


def kind_of_zmq(port: int) -> bytes:
    """What kind of socket ZeroMQ has on a port, by the handshake of its protocol."""
    said = b"\x05READY\x0bSocket-Type\0\0\0\x04PUSH"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
        stream.sendall(b"\xff" + bytes(8) + b"\x7f\x03\0NULL" + bytes(48) + bytes([4, len(said)]) + said)
        answer = b""
        # One that expects another kind at its end hangs up.
        while len(answer.partition(b"Socket-Type")[2]) < 8 and (piece := stream.recv(200)):
            answer += piece
    kind = answer.partition(b"Socket-Type")[2]
    return kind[4 : 4 + kind[3]] if kind else b"another"


def refuses_strangers(url: str, lab: psutil.Process) -> None:
    """See that a JupyterLab answers nobody without the token, and that its kernels tell nobody what they print."""
    ours = [lab, *lab.children(recursive=True)]
    listening = [(p.pid, c.laddr) for p in ours for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {address.ip for _, address in listening} == {"127.0.0.1"}
    assert len([pid for pid, _ in listening if pid == lab.pid]) == 1
    # What is left of a kernel's ports takes the words of its subprocesses, with a password, and says nothing.
    assert {kind_of_zmq(address.port) for pid, address in listening if pid != lab.pid} <= {b"PULL"}
    kernels = [path for p in ours for c in p.net_connections("unix") if (path := c.laddr) and "-ipc-" in path]
    assert kernels
    assert not any(Path(path).stat().st_mode & 0o077 and Path(path).parent.stat().st_mode & 0o077 for path in kernels)
    for path in ("api/kernels", "api/contents", "api/sessions", "files/pipeline/06_marts.ipynb", "lab/api/workspaces"):
        try:
            with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
                assert "/login?" in answer.url, path
        except urllib.error.HTTPError as refused:
            assert refused.code == 403, path


def test_notebooks_run_in_jupyterlab_by_run_all_cells(lab, chromium, soak):
    """All of them in `make soak`; else the first, for `make nbval` runs all of them in kernels of the same kind."""
    notebooks = [step.notebook for step in read_chain() if is_canonical(step)][: None if soak else 1]
    steps = [notebook.relative_to(CHAIN_FILE.parent).as_posix() for notebook in notebooks]
    tab = chromium.new_page()
    url, process = lab
    tab.goto(url)
    tab.wait_for_function("window.jupyterapp?.shell.currentWidget", timeout=60_000)
    # A notebook that came too early leaves nothing behind that would hinder the others.
    early = run_all_cells(tab, "pipeline/06_marts.ipynb")
    assert "03_ingest.ipynb" in "".join(cell["error"] for cell in early)

    # The kernels live on, as in a lab that is left open.
    for name in steps:
        cells = run_all_cells(tab, name)
        assert [cell["error"] for cell in cells if cell["error"]] == [], name
        assert all(cell["count"] for cell in cells), name
    refuses_strangers(url.partition("lab?")[0], process)
    tab.close()
