"""The exceptions of duckbook.

Every error that a user can cause is one of these. Its message is a sentence that says what is wrong, with which
setting, table, batch or file, and what to do about it. The command line prints the message and exits with the
class's ``exit_status``; a notebook shows it as the last line of the failing cell.
"""

import errno
import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All control characters except tab and newline."""

NO_ROOM = "There is no room left on the disk: free some, and go on."


class DuckbookError(Exception):
    """Base class of all errors that duckbook raises on purpose."""

    exit_status = 1


class SettingError(DuckbookError):
    """A setting is unknown, malformed, or conflicts with another setting."""

    exit_status = 2


class ServerError(DuckbookError):
    """Postgres or S3 cannot be started or reached, or rejects the credentials."""


class LandingError(DuckbookError):
    """The landing zone holds data that cannot be read, trusted or extended."""


class IngestError(DuckbookError):
    """A table or a batch cannot be ingested."""


class LeaseError(DuckbookError):
    """The lease of a shared history or lake was lost."""


class WarehouseError(DuckbookError):
    """The warehouse cannot be opened, or lacks the output of an earlier step."""


class WarehouseLocked(WarehouseError):
    """Another process has the warehouse file open."""


class TransformError(DuckbookError):
    """dbt could not build a layer, or one of its tests failed."""


class QuarantineError(DuckbookError):
    """More rows were quarantined than the setting allows."""


class PublishError(DuckbookError):
    """Marts cannot be published, or nothing has been published yet."""


class BackupError(DuckbookError):
    """A data folder cannot be backed up, or a folder does not hold a usable backup."""


class CheckFailed(DuckbookError):
    """A check at the end of a notebook failed."""


class ChainError(DuckbookError):
    """The chain file, a notebook or a parameter is wrong, or a step failed."""


class ScienceError(DuckbookError):
    """The data are too few for a model, or of the wrong kind."""


class NotEnough(ScienceError):
    """The data are too few for an analysis. The notebook ends with this message, and the step does not fail."""


def first_line(message: object) -> str:
    """Return the first line of a library's error message without its full stop; the rest is hints and positions.

    Remove secrets first: a secret may end like a line does.
    """
    lines = str(message).strip().splitlines()
    return lines[0].rstrip(". ") if lines else "no reason given"


def visible(text: str) -> str:
    """Replace control characters with visible symbols, so that data cannot move the terminal's cursor."""
    return CONTROL.sub(lambda match: chr(0x2400 + ord(match[0])) if match[0] < "\x20" else "\u2421", text)


def reason(error: BaseException) -> str:
    """Describe an error in a sentence: duckbook's own message, the full disk, or the class and its message."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NO_ROOM.replace("disk", f"disk of {error.filename}", 1) if error.filename else NO_ROOM
    return str(error) if isinstance(error, DuckbookError) else f"{type(error).__name__}: {error}"
