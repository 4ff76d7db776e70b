"""Publications: their records, the protocol of the backends that keep them, and how one is chosen."""

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
"""A publication is kept this long after it was replaced, whatever number the settings keep."""

P = TypeVar("P", bound="Publication")


@dataclass(frozen=True)
class Publication:
    """Published marts: the run, the as-of date, rows per mart, and whether personal columns are masked."""

    run_id: str
    as_of: str | None
    marts: dict[str, int]
    masked: bool = True
    left_at: datetime | None = field(default=None, kw_only=True, compare=False)
    """When another publication last replaced it as the current one; None if it is current or never was."""


@dataclass(frozen=True)
class LakePublication(Publication):
    """A publication of the shared lake, pinned to the lake's `snapshot` that holds its marts."""

    snapshot: int = 0
    personal: dict[str, list[str]] = field(default_factory=dict)
    """Mart → its columns that readers see masked."""


@dataclass(frozen=True)
class MartQuery:
    """The query that publishes a mart.

    Attributes
    ----------
    query
        Selects all columns of the mart, the personal ones masked unless a setting says otherwise.
    sorted_by
        The sort order of the rows in a file.
    personal
        The columns that the query masks.
    """

    query: str
    sorted_by: tuple[str, ...]
    personal: tuple[str, ...]


class PublicationBackend(Protocol):
    """Keeps the publications of a target; each backend is a module with these functions."""

    def publish(
        self,
        settings: Settings,
        connection: duckdb.DuckDBPyConnection,
        marts: dict[str, MartQuery],
        run_id: str,
        as_of: str | None,
        keep: int,
    ) -> Publication:
        """Publish the marts, make them current, and keep the newest `keep` publications."""

    def attach(
        self, connection: duckdb.DuckDBPyConnection, settings: Settings, as_of: str | None, run_id: str | None
    ) -> Publication:
        """Create one view per mart of a publication, in the schema ``ecom_marts`` of a connection."""

    def publications(self, settings: Settings) -> Sequence[Publication]:
        """List the publications, newest first."""

    def current(self, settings: Settings) -> Publication | None:
        """Return the publication that readers get by default, or None."""

    def roll_back(self, settings: Settings, run_id: str) -> Publication:
        """Make an earlier publication the current one."""

    def remove(self, settings: Settings, run_id: str) -> None:
        """Remove a publication, unless it is the current one."""


def removable(publications: Sequence[P], current: str | None, keep: int) -> list[P]:
    """The publications to remove: not among the newest `keep`, not current, and not replaced within `GRACE`.

    Parameters
    ----------
    publications
        All of them, newest first.
    current
        Name of the current one.
    """
    limit = datetime.now(UTC) - GRACE
    return [
        publication
        for publication in publications[max(keep, 1) :]
        if publication.run_id != current and (publication.left_at is None or publication.left_at < limit)
    ]


def choose(publications: list[P], current: P | None, as_of: str | None = None, run_id: str | None = None) -> P:
    """Choose the publication of a run, of an as-of date (the current one first), or the current one.

    Raises
    ------
    PublishError
        Nothing has been published yet, or there is no such publication; the sentence lists those that exist.
    """
    if run_id is not None:
        match = next((publication for publication in publications if publication.run_id == run_id), None)
        return match or _refuse(f"There is no publication {run_id}: kept are", (p.run_id for p in publications))
    if as_of is not None:
        candidates = [*([current] if current else []), *publications]
        match = next((publication for publication in candidates if publication.as_of == as_of), None)
        return match or _refuse(
            f"No publication as of {as_of} is kept: there are", sorted({str(p.as_of) for p in publications})
        )
    if current is None:
        raise PublishError(
            "Nothing has been published yet: run notebooks/pipeline/07_publish.ipynb first, or `make pipeline`."
        )
    return current


def free_name(run_id: str, taken: Iterable[str]) -> str:
    """A free name for a run's publication: its first one may have readers, and is not replaced by a second."""
    names, number, name = set(taken), 1, run_id
    while name in names:
        number, name = number + 1, f"{run_id}-{number + 1}"
    return name


def _refuse(sentence: str, names: Iterable[str]) -> None:
    raise PublishError(f"{sentence} {', '.join(names) or 'none'}.")
