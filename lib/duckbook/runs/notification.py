"""Notify people that a run did not succeed, by a command, a webhook, or both.

Runs that failed, were killed, were stopped by the system or were refused before they began are notified. Runs stopped
by Ctrl-C are not. A failed notification is recorded, and does not change how the run ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duckbook.errors import DuckbookError, visible
from duckbook.redaction import Redactor
from duckbook.runs import run_archive
from duckbook.runs.run_archive import Run
from duckbook.settings import Settings

COMMAND_SECONDS, WEBHOOK_SECONDS = 30, 10


def notify(settings: Settings, run: Run, redactor: Redactor) -> None:
    """Send the notifications of a run that did not succeed, and record those that failed in ``not_told``.

    Parameters
    ----------
    run
        The ended run, whose page is written.
    redactor
        Redacts secrets in the output of the user's command.
    """
    record = run.record
    failures = _send(settings, sentence(record), run.folder / "index.html", record["run_id"], record["status"])
    if failures:
        from duckbook.runs import page

        record["not_told"] = [redactor.text(failure) for failure in failures]
        with contextlib.suppress(OSError):  # a full disk, which the record reports already
            run.save()
            page.write_run(run.folder)


@contextlib.contextmanager
def on_refusal(settings: Settings) -> Iterator[None]:
    """Notify if the block refuses a run before it begins; such a run has no page."""
    try:
        yield
    except DuckbookError as error:
        message = f"A run of the data folder {settings.data.name} could not begin: {error}"
        for failure in _send(settings, message, None, None, "refused"):
            error.args = (f"{error}\n{failure}",)
        raise


def sentence(record: dict[str, Any]) -> str:
    """How a run ended, in one sentence."""
    how = "was interrupted" if record["status"] == run_archive.INTERRUPTED else record["status"]
    return f"Run {record['run_id']} of the data folder {record.get('store') or '?'} {how}: {record['error']}"


def _send(settings: Settings, message: str, page: Path | None, run_id: str | None, status: str) -> list[str]:
    """Send a message by all configured means, and return the errors."""
    # Commands accept no NUL, and terminals obey control characters.
    message, errors = visible(message), []
    if settings.on_failure:
        errors.append(_call(settings.on_failure, message, page))
    if settings.on_failure_webhook:
        where = str(page) if page else None
        body = {
            "text": f"{message}\n{where or ''}".strip(),
            "sentence": message,
            "page": where,
            "run_id": run_id,
            "status": status,
        }
        errors.append(_post(settings.on_failure_webhook.get_secret_value(), body))
    return [error for error in errors if error]


def _call(command: str, message: str, page: Path | None) -> str | None:
    """Call a command without a shell, so that none interprets the message; return its error, or None."""
    values = {"sentence": message, "page": str(page or "")}

    def fill(match: re.Match[str]) -> str:
        return values[match[1]]

    arguments = [re.sub(r"{(sentence|page)}", fill, word) for word in shlex.split(command)]
    environment = os.environ | {f"DUCKBOOK_RUN_{name.upper()}": text for name, text in values.items()}
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except OSError as error:
        return f"The command of DUCKBOOK_ON_FAILURE cannot be called: {error}. Correct the setting."
    except subprocess.TimeoutExpired:
        return f"The command of DUCKBOOK_ON_FAILURE did not end in {COMMAND_SECONDS} s and was stopped: see why."
    if done.returncode:
        last_line = next(reversed(done.stdout.strip().splitlines()), "no output")
        return f"The command of DUCKBOOK_ON_FAILURE ended with {done.returncode}: {last_line}."
    return None


def _post(url: str, body: dict[str, Any]) -> str | None:
    """Post to a webhook; return the error, or None. Chat services show `text`."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", "User-Agent": "duckbook"}, method="POST"
    )
    try:
        urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS).close()
    except urllib.error.HTTPError as error:
        return f"The webhook of DUCKBOOK_ON_FAILURE_WEBHOOK answered {error.code}: see whether its URL is still right."
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"The webhook of DUCKBOOK_ON_FAILURE_WEBHOOK cannot be reached: {reason}. See whether its URL is right."
    return None
