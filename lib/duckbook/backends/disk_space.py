"""Room on the disks: which folder's disk is full, said of an error that came of that, whatever program it came from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from duckbook.errors import NO_ROOM
from duckbook.settings import Settings

SIGNS = re.compile(r"no space left|no room left|disk is full|DiskFull|disk quota exceeded", re.IGNORECASE)
"""How Python, DuckDB, Postgres and libraries say that a disk is full."""

REFUSED = re.compile(r"InternalError|S3 does not write")
"""How an embedded object store says it, which writes nothing while less than `SHARE` of its disk is free."""

SHARE = 0.01

SAID = re.compile(re.escape(NO_ROOM).replace("disk:", "disk( of [^:]*)?:"))
"""The sentence that `errors.reason` gives, which knows the file at best."""


def is_short(error: str, settings: Settings) -> bool:
    """Whether an error came of a disk that is full."""
    return bool(SIGNS.search(error) or (REFUSED.search(error) and settings.embedded_s3 and _is_low(settings.data)))


def explained(error: str, settings: Settings) -> str:
    """An error, and where it came of a full disk the folder that lies on it."""
    if not is_short(error, settings):
        return error
    folders = {"DUCKBOOK_DATA": settings.data, "DUCKBOOK_RUNS": settings.runs}
    named = [name for name, folder in folders.items() if str(folder) in error]
    # What failed to be written may be gone again, and its room with it: the fuller one it is.
    (name, *_) = named or sorted(folders, key=lambda name: _free(folders[name]))
    told = f"There is no room left on the disk of {name}={folders[name]}: free some, and go on."
    return SAID.sub(lambda _: told, error) if SAID.search(error) else f"{error.rstrip('. ')}. {told}"


def _is_low(folder: Path) -> bool:
    usage = shutil.disk_usage(_made(folder))
    return usage.free < usage.total * SHARE


def _free(folder: Path) -> int:
    return shutil.disk_usage(_made(folder)).free


def _made(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
