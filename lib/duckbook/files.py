"""Atomic writes of private files, reading JSON files, and checksums."""

from __future__ import annotations

import json
import os
from hashlib import file_digest
from pathlib import Path
from typing import Any

from duckbook.errors import ServerError


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner can read (mode 0600), atomically.

    Raises
    ------
    OSError
        The file cannot be written, for example because the disk is full. The old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            # os.write may write only a part; a file object writes everything or raises.
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file; return an empty one if the file does not exist.

    Raises
    ------
    ServerError
        The file cannot be read, or is not JSON.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return content
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise ServerError(
            f"{path} belongs to another user: work as that user, or choose a folder of your own with DUCKBOOK_DATA."
        ) from None
    except ValueError:
        raise ServerError(
            f"{path} is damaged: restore it from a copy, or start again in another DUCKBOOK_DATA."
        ) from None


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
