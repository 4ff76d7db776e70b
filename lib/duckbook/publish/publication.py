"""Publications: their records, what a backend that keeps them does, and how one is chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from duckbook.errors import PublishError
from duckbook.settings import Settings
from duckbook.sql import quoted

if TYPE_CHECKING:
    import duckdb

GRACE = timedelta(hours=1)
"""A publication is kept this long after it was replaced, whatever number the settings keep."""

SCHEMA = "ecom_marts"
"""Schema of the marts, in a warehouse as for readers of a publication."""


@dataclass(frozen=True)
class Publication:
    """Published marts: the run, the as-of date, rows per mart, and whether personal columns are masked.

    Attributes
    ----------
    snapshot
        Snapshot of the shared lake that holds the marts; None if the target keeps them otherwise.
    personal
        Mart → its columns that readers of that snapshot see masked.
    left_at
        When another publication last replaced it as the current one; None if it is current or never was.
    """

    run_id: str
    as_of: str | None
    marts: dict[str, int]
    masked: bool = True
    snapshot: int | None = None
    personal: dict[str, list[str]] = field(default_factory=dict)
    left_at: datetime | None = field(default=None, kw_only=True, compare=False)


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


class PublicationBackend(ABC):
    """Keeps the publications of a target; each is the class `Backend` of a module."""

    def __init__(self, settings: Settings):
        self.settings = settings

    @abstractmethod
    def publish(
        self, connection: duckdb.DuckDBPyConnection, marts: dict[str, MartQuery], new: Publication, keep: int
    ) -> Publication:
        """Publish the marts as `new` and count their rows, make them current, and keep the newest `keep` publications.

        Parameters
        ----------
        connection
            The warehouse, in the transaction that checked the marts.
        """

    def attach(
        self, connection: duckdb.DuckDBPyConnection, as_of: str | None = None, run_id: str | None = None
    ) -> Publication:
        """Create one view per mart of a publication, in the schema `SCHEMA` of a connection.

        Raises
        ------
        PublishError
            Nothing has been published yet, or there is no such publication.
        """
        publication = self._open(connection, as_of, run_id)
        # One transaction: each would ask the catalog of the lake for its snapshot again.
        connection.begin()
        for mart in publication.marts:
            query = self._query(connection, publication, mart)
            connection.execute(f"create view {SCHEMA}.{quoted(mart)} as {query}")
        connection.commit()
        return publication

    @abstractmethod
    def _open(self, connection: duckdb.DuckDBPyConnection, as_of: str | None, run_id: str | None) -> Publication:
        """Choose a publication, and attach to the connection what its marts are read from."""

    @abstractmethod
    def _query(self, connection: duckdb.DuckDBPyConnection, publication: Publication, mart: str) -> str:
        """The query that reads a mart of an open publication."""

    @abstractmethod
    def publications(self) -> list[Publication]:
        """List the publications, newest first."""

    @abstractmethod
    def current(self) -> Publication | None:
        """Return the publication that readers get by default, or None."""

    @abstractmethod
    def roll_back(self, run_id: str) -> Publication:
        """Make an earlier publication the current one."""

    @abstractmethod
    def remove(self, run_id: str) -> None:
        """Remove a publication, unless it is the current one."""


def removable(publications: Sequence[Publication], current: str | None, keep: int) -> list[Publication]:
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


def choose(
    publications: Sequence[Publication],
    current: Publication | None,
    as_of: str | None = None,
    run_id: str | None = None,
) -> Publication:
    """Choose the publication of a run, of an as-of date (the current one first), or the current one.

    Raises
    ------
    PublishError
        Nothing has been published yet, or there is no such publication; the sentence lists those that exist.
    """
    if run_id is not None:
        for publication in publications:
            if publication.run_id == run_id:
                return publication
        kept = ", ".join(publication.run_id for publication in publications)
        raise PublishError(f"There is no publication {run_id}: kept are {kept or 'none'}.")
    if as_of is not None:
        for publication in (*filter(None, [current]), *publications):
            if publication.as_of == as_of:
                return publication
        dates = ", ".join(sorted({str(publication.as_of) for publication in publications}))
        raise PublishError(f"No publication as of {as_of} is kept: there are {dates or 'none'}.")
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
