"""Notifications of runs that did not succeed, and how failed notifications are reported."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from chains import Memory, duckbook, write_chain
from duckbook.errors import ServerError
from duckbook.runs import notification, run_archive
from duckbook.runs.request import Request
from duckbook.runs.runner import run
from duckbook.settings import Settings

WRITE_TO_FILE = (
    "import json, os, pathlib, sys; sent = {n: os.environ[n] for n in ('DUCKBOOK_RUN_SENTENCE', 'DUCKBOOK_RUN_PAGE')}; "
    "pathlib.Path(sys.argv[1]).write_text(json.dumps([sent, sys.argv[2:]]))"
)


def command(script: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-c", script, *arguments])


class Hook(BaseHTTPRequestHandler):
    """A webhook that records requests and responds with its server's `answer`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(self.server.answer)
        self.end_headers()

    def log_message(self, *_arguments) -> None:
        pass


@pytest.fixture
def hook():
    server = HTTPServer(("127.0.0.1", 0), Hook)
    server.received, server.answer = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def shop(tmp_path, **chosen) -> Settings:
    return Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None, **chosen)


def test_a_failed_run_notifies_the_command_and_the_webhook(tmp_path, hook):
    written = tmp_path / "sent.json"
    # No shell interprets the arguments.
    chosen = shop(
        tmp_path,
        on_failure=command(WRITE_TO_FILE, str(written), "{sentence}", "$HOME; {page}"),
        on_failure_webhook=f"http://127.0.0.1:{hook.server_port}/hooks/secret-part",
    )
    record = run(chosen, Request(generate=False), Memory(), write_chain(tmp_path / "nb", "fails", "never=succeeds"))
    page = str(record.folder / "index.html")
    error = "fails: cell 3: ValueError: the shelf is empty"
    message = f"Run {record.folder.name} of the data folder {chosen.data} failed: {error}"
    environment, words = json.loads(written.read_text())
    assert environment == {"DUCKBOOK_RUN_SENTENCE": message, "DUCKBOOK_RUN_PAGE": page}
    assert words == [message, f"$HOME; {page}"]
    ((path, kind, body),) = hook.received
    assert (path, kind) == ("/hooks/secret-part", "application/json")
    assert body == {
        "text": f"{message}\n{page}", "sentence": message, "page": page,
        "run_id": record.folder.name, "status": "failed",
    }  # fmt: skip
    assert "not_told" not in record.record


def test_a_run_that_succeeds_sends_no_notification(tmp_path, hook):
    chosen = shop(tmp_path, on_failure_webhook=f"http://127.0.0.1:{hook.server_port}/")
    run(chosen, Request(generate=False), Memory(), write_chain(tmp_path / "nb", "succeeds"))
    assert hook.received == []


def test_a_failed_notification_is_reported_and_changes_nothing_else(tmp_path, hook):
    hook.answer = 404
    secret = f"http://127.0.0.1:{hook.server_port}/hooks/secret-part"
    chosen = shop(tmp_path, on_failure=command(f"print('on its way to {secret}'); exit(3)"), on_failure_webhook=secret)
    record = run(chosen, Request(generate=False), Memory(), write_chain(tmp_path / "nb", "fails"))
    assert record.record["error"] == "fails: cell 3: ValueError: the shelf is empty"
    assert json.loads((record.folder / "run.json").read_text("utf-8"))["not_told"] == [
        "The command of DUCKBOOK_ON_FAILURE ended with 3: on its way to ***.",
        "The webhook of DUCKBOOK_ON_FAILURE_WEBHOOK answered 404: see whether its URL is still right.",
    ]
    assert "answered 404" in (record.folder / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"on_failure": "/no/such/program {sentence}"}, "cannot be called"),
        ({"on_failure": command("import time; time.sleep(60)")}, "did not end in 0.5 s"),
        ({"on_failure_webhook": "http://127.0.0.1:1/"}, "cannot be reached"),
    ],
)
def test_a_notifier_that_is_missing_hangs_or_is_down_is_reported(tmp_path, monkeypatch, wrong, sentence):
    monkeypatch.setattr(notification, "COMMAND_SECONDS", 0.5)
    with pytest.raises(ServerError) as refused, notification.on_refusal(shop(tmp_path, **wrong)):
        raise ServerError("S3 does not answer.")
    first, second = str(refused.value).splitlines()
    assert first == "S3 does not answer."
    assert sentence in second


def test_a_run_that_cannot_begin_sends_a_notification(tmp_path, hook):
    s3 = {"s3_endpoint": "http://127.0.0.1:1", "s3_access_key_id": "id", "s3_secret_access_key": "no-secret-at-all"}
    chosen = shop(tmp_path, on_failure_webhook=f"http://127.0.0.1:{hook.server_port}/", **s3)
    with pytest.raises(ServerError):
        run(chosen, Request(generate=False), Memory(), write_chain(tmp_path / "nb", "succeeds"))
    ((_, _, body),) = hook.received
    assert body["sentence"].startswith("A run of the data folder data could not begin: ")
    assert (body["page"], body["status"]) == (None, "refused")


@pytest.mark.parametrize(("sent", "is_notified"), [("SIGINT", False), ("SIGTERM", True), ("SIGKILL", True)])
def test_a_stopped_run_sends_a_notification_except_after_ctrl_c(tmp_path, sent, is_notified):
    chosen, written = shop(tmp_path), tmp_path / "sent.json"
    file = write_chain(tmp_path / "nb", "starts_a_process")
    process = duckbook(
        chosen, "run", "--no-generate", "--chain", str(file),
        DUCKBOOK_ON_FAILURE=command(WRITE_TO_FILE, str(written)),
    )  # fmt: skip
    latest = chosen.runs / "latest"
    deadline = time.monotonic() + 60
    while not (latest / "child.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.Signals[sent])
    process.communicate(timeout=60)
    for _ in range(100 if is_notified else 10):
        if written.exists() and written.read_text():
            break
        time.sleep(0.1)
    assert written.exists() == is_notified
    if is_notified:
        sent_values = json.loads(written.read_text())[0]
        assert " was interrupted: " in sent_values["DUCKBOOK_RUN_SENTENCE"]
        assert "interrupted" in (latest / "index.html").read_text("utf-8")
        assert sent_values["DUCKBOOK_RUN_PAGE"] == str(latest.resolve() / "index.html")
    assert run_archive.read(latest.resolve())["status"] == "interrupted"
