"""Full disks: recognize them in any program's error, and name the folder that is on the disk."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from duckbook.errors import NO_ROOM
from duckbook.settings import Settings

FULL = re.compile(r"no space left|no room left|disk is full|DiskFull|disk quota exceeded", re.IGNORECASE)
"""What Python, DuckDB, Postgres and libraries report when a disk is full."""

S3_REFUSAL = re.compile(r"InternalError|S3 cannot write")
"""What the embedded S3 server reports. It accepts no writes while less than `MIN_FREE_SHARE` of its disk is free."""

MIN_FREE_SHARE = 0.01

REASON = re.compile(re.escape(NO_ROOM).replace("disk:", "disk( of [^:]*)?:"))
"""The sentence of `errors.reason`, which names a file at most."""


def is_full(error: str, settings: Settings) -> bool:
    """Whether a full disk caused an error."""
    return bool(FULL.search(error) or (S3_REFUSAL.search(error) and settings.embedded_s3 and _is_low(settings.data)))


def explain(error: str, settings: Settings) -> str:
    """Return an error message; if a full disk caused it, add the folder that is on that disk."""
    if not is_full(error, settings):
        return error
    folders = {"DUCKBOOK_DATA": settings.data, "DUCKBOOK_RUNS": settings.runs}
    named = [name for name, folder in folders.items() if str(folder) in error]
    # The failed file may be deleted by now, and its space free again: choose the fuller disk.
    (name, *_) = named or sorted(folders, key=lambda name: _free(folders[name]))
    reason = f"There is no room left on the disk of {name}={folders[name]}: free some, and go on."
    return REASON.sub(lambda _: reason, error) if REASON.search(error) else f"{error.rstrip('. ')}. {reason}"


def _is_low(folder: Path) -> bool:
    usage = shutil.disk_usage(_existing(folder))
    return usage.free < usage.total * MIN_FREE_SHARE


def _free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
