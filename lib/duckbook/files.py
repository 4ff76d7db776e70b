"""Files that are written whole or not at all, for their owner alone, and JSON files."""

from __future__ import annotations

import json
import os
from pathlib import Path

from duckbook.errors import ServerError


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner reads (0600), whole or not at all.

    Raises
    ------
    OSError
        It cannot be written, as on a full disk; what was there is as it was.
    """
    mine = path.with_name(f".{path.name}.{os.getpid()}")
    mine.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            # The operating system may take a part of it and say so; a file object goes on to the end, or raises.
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        mine.replace(path)
    except OSError as error:
        mine.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        mine.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict:
    """The object in a JSON file, empty when there is no such file.

    Raises
    ------
    ServerError
        The file cannot be read or holds something else.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise ServerError(
            f"{path} belongs to another user: work as that user, or take a folder of your own with DUCKBOOK_DATA."
        ) from None
    except ValueError:
        raise ServerError(
            f"{path} is damaged: put it back from a copy, or begin anew in another DUCKBOOK_DATA."
        ) from None
