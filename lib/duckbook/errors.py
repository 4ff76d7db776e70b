"""The exception family of duckbook.

Every error that a person can meet is one of these, and its text is a sentence: what is wrong, with which
setting, table, batch or file, and what to do about it. The command line prints the sentence and exits with
the class's ``exit_status``; a notebook shows it as the last line of the failing cell.
"""

import errno
import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All control characters but the tab and the end of a line."""

NO_ROOM = "There is no room left on the disk: free some, and go on."


class DuckbookError(Exception):
    """Base of the family: whatever duckbook raises on purpose."""

    exit_status = 1


class SettingError(DuckbookError):
    """A setting is unknown, malformed, or does not fit another one."""

    exit_status = 2


class ServerError(DuckbookError):
    """Postgres or the object store cannot be started, reached or signed in to."""


class LandingError(DuckbookError):
    """The landing zone holds something that cannot be generated upon, read or trusted."""


class IngestError(DuckbookError):
    """A table or a batch cannot be ingested."""


class LeaseError(DuckbookError):
    """What this process may change alone, it holds no more."""


class WarehouseError(DuckbookError):
    """The warehouse cannot be opened, or lacks what an earlier step makes."""


class WarehouseLocked(WarehouseError):
    """Another process holds the warehouse file."""


class TransformError(DuckbookError):
    """dbt could not build a layer, or one of its tests failed."""


class QuarantineError(DuckbookError):
    """More rows were set aside than the setting lets pass."""


class PublishError(DuckbookError):
    """Marts cannot be published, or nothing has been published yet."""


class BackupError(DuckbookError):
    """A store cannot be backed up, or a folder holds no backup that it can be made of again."""


class CheckFailed(DuckbookError):
    """A check at the end of a notebook found something else than it expects."""


class ChainError(DuckbookError):
    """The chain file, a notebook or a parameter is wrong, or a step failed."""


class ScienceError(DuckbookError):
    """Data are too few or not of the kind that a model wants."""


class NotEnough(ScienceError):
    """Data are too few, or lack what an analysis asks for: its notebook ends with this sentence, and no step fails."""


def first_line(said: object) -> str:
    """The first line of what a library says in an error, without its full stop: the rest is hints and positions.

    Secrets are taken out before, for one may end as a line does.
    """
    lines = str(said).strip().splitlines()
    return lines[0].rstrip(". ") if lines else "no reason given"


def visible(text: str) -> str:
    """Show control characters as signs: data that hold them would else move the cursor, or name the window."""
    return CONTROL.sub(lambda found: chr(0x2400 + ord(found[0])) if found[0] < "\x20" else "\u2421", text)


def reason(error: BaseException) -> str:
    """An error as the reason that something failed for: of ours its sentence, of a full disk one as well."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NO_ROOM.replace("disk", f"disk of {error.filename}", 1) if error.filename else NO_ROOM
    return str(error) if isinstance(error, DuckbookError) else f"{type(error).__name__}: {error}"
