"""Telling people of their choice that a run did not succeed: a command of theirs, a webhook, or both.

A failed run is told, one that was killed or stopped by the system, and one that could not begin. One that somebody
stopped by Ctrl-C is not, for they know. What cannot be told is said, and changes nothing about how the run ended.
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


def tell(settings: Settings, record: Run, redactor: Redactor) -> None:
    """Tell of a run that did not succeed, and note in ``not_told`` what went wrong with that.

    Parameters
    ----------
    record
        The ended run, whose page is written.
    redactor
        What must not be written, in case a command of a person's own says it.
    """
    told = record.record
    troubles = _tell(settings, sentence(told), record.folder / "index.html", told["run_id"], told["status"])
    if troubles:
        from duckbook.runs import page

        told["not_told"] = [redactor.text(trouble) for trouble in troubles]
        with contextlib.suppress(OSError):  # A full disk, of which was told.
            record.save()
            page.write_run(record.folder)


@contextlib.contextmanager
def refusals(settings: Settings) -> Iterator[None]:
    """Tell of a run that could not begin as well, such as for a server that does not answer; it has no page."""
    try:
        yield
    except DuckbookError as error:
        troubles = _tell(
            settings, f"A run of the store {settings.data.name} could not begin: {error}", None, None, "refused"
        )
        for trouble in troubles:
            error.args = (f"{error}\n{trouble}",)
        raise


def sentence(record: dict[str, Any]) -> str:
    """What became of a run, in one sentence."""
    how = "was interrupted" if record["status"] == run_archive.INTERRUPTED else record["status"]
    return f"Run {record['run_id']} of the store {record.get('store') or '?'} {how}: {record['error']}"


def _tell(settings: Settings, said: str, page: Path | None, run_id: str | None, status: str) -> list[str]:
    """Tell all who want to know, and give what went wrong with that."""
    # No command takes a NUL, and no terminal that shows the sentence is to obey it.
    said, troubles = visible(said), []
    if settings.on_failure:
        troubles.append(_call(settings.on_failure, said, page))
    if settings.on_failure_webhook:
        where = str(page) if page else None
        body = {
            "text": f"{said}\n{where or ''}".strip(),
            "sentence": said,
            "page": where,
            "run_id": run_id,
            "status": status,
        }
        troubles.append(_post(settings.on_failure_webhook.get_secret_value(), body))
    return [trouble for trouble in troubles if trouble]


def _call(command: str, said: str, page: Path | None) -> str | None:
    """Call a command without a shell, so that nothing in a sentence is read as one; what went wrong, or None."""
    told = {"sentence": said, "page": str(page or "")}
    words = [re.sub(r"{(sentence|page)}", lambda found: told[found[1]], word) for word in shlex.split(command)]
    environment = os.environ | {f"DUCKBOOK_RUN_{name.upper()}": text for name, text in told.items()}
    try:
        done = subprocess.run(
            words,
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
        lines = done.stdout.strip().splitlines()
        return f"The command of DUCKBOOK_ON_FAILURE ended with {done.returncode}: {lines[-1] if lines else 'no word'}."
    return None


def _post(url: str, body: dict[str, Any]) -> str | None:
    """Tell a webhook; what went wrong, or None. `text` is what chat services show."""
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
