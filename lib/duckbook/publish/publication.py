"""What a publication is, what a keeper of publications offers, and the sentences for one that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from duckbook.errors import PublishError
from duckbook.settings import Settings

if TYPE_CHECKING:
    import duckdb

GRACE = timedelta(hours=1)
"""For so long a publication stays after readers were pointed at another one, whatever the settings keep."""

Kept = TypeVar("Kept", bound="Publication")


@dataclass(frozen=True)
class Publication:
    """Published marts: which run made them, of which as-of date, the rows of each, and whether persons are masked."""

    run_id: str
    as_of: str | None
    marts: dict[str, int]
    masked: bool = True
    left_at: datetime | None = field(default=None, kw_only=True, compare=False)
    """When readers were last pointed at another one; None while they take it, and where they never did."""


@dataclass(frozen=True)
class Pinned(Publication):
    """A publication of the shared lake; `snapshot` is the one that holds its marts."""

    snapshot: int = 0
    personal: dict[str, list[str]] = field(default_factory=dict)
    """Mart → the columns of it that readers see masked."""


@dataclass(frozen=True)
class Outgoing:
    """A mart that is to be published.

    Attributes
    ----------
    query
        What is published of it: all of its columns, the personal ones masked unless a setting says otherwise.
    sorted_by
        The columns by whose order its rows are kept, where they are kept in a file.
    personal
        The columns that the query masks.
    """

    query: str
    sorted_by: tuple[str, ...]
    personal: tuple[str, ...]


class Keeper(Protocol):
    """What keeps the publications of a target; a module is one."""

    def publish(
        self,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        marts: dict[str, Outgoing],
        run_id: str,
        as_of: str | None,
        keep: int,
    ) -> Publication:
        """Publish the marts of a warehouse, point readers at them, and keep the newest `keep` publications."""

    def attach(
        self, connection: duckdb.DuckDBPyConnection, settings: Settings, as_of: str | None, run_id: str | None
    ) -> Publication:
        """Make a view a mart of a publication, in the schema ``ecom_marts`` of a connection."""

    def publications(self, settings: Settings) -> Sequence[Publication]:
        """The publications that are kept, newest first."""

    def current(self, settings: Settings) -> Publication | None:
        """The publication that readers take, or None."""

    def roll_back(self, settings: Settings, run_id: str) -> Publication:
        """Point readers at an earlier publication."""

    def remove(self, settings: Settings, run_id: str) -> None:
        """Remove a publication, unless it is the current one."""


def beyond(kept: Sequence[Kept], current: str | None, keep: int) -> list[Kept]:
    """The publications that may be removed: not of the newest few, not current, and left by readers a while ago.

    Parameters
    ----------
    kept
        All of them, newest first.
    current
        Name of the one that readers take.
    """
    since = datetime.now(UTC) - GRACE
    return [
        publication
        for publication in kept[max(keep, 1) :]
        if publication.run_id != current and (publication.left_at is None or publication.left_at < since)
    ]


def chosen(kept: list[Kept], current: Kept | None, as_of: str | None = None, run_id: str | None = None) -> Kept:
    """The publication that a reader asks for: of a run, of an as-of date (the current one first), or the current one.

    Raises
    ------
    PublishError
        Nothing has been published yet, or what is asked for is not kept; the sentence says what is.
    """
    if run_id is not None:
        found = next((publication for publication in kept if publication.run_id == run_id), None)
        return found or _refuse(f"There is no publication {run_id}: kept are", (p.run_id for p in kept))
    if as_of is not None:
        known = [*([current] if current else []), *kept]
        found = next((publication for publication in known if publication.as_of == as_of), None)
        return found or _refuse(
            f"No publication as of {as_of} is kept: there are", sorted({str(p.as_of) for p in kept})
        )
    if current is None:
        raise PublishError("Nothing has been published yet: run 07_publish.ipynb first, or `make pipeline`.")
    return current


def free_name(run_id: str, taken: Iterable[str]) -> str:
    """The name of a run's publication: a run that publishes twice leaves what its readers may have open alone."""
    known, number, name = set(taken), 1, run_id
    while name in known:
        number, name = number + 1, f"{run_id}-{number + 1}"
    return name


def _refuse(sentence: str, kept: Iterable[str]) -> None:
    raise PublishError(f"{sentence} {', '.join(kept) or 'none'}.")
