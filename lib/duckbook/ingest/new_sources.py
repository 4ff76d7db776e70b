"""Find what is new in the landing zone, check that nothing is missing, and read it into local files.

Only files in the caller's folder are written, so that the check of a landing zone can use the same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from duckbook.backends import parallel, warehouse
from duckbook.errors import IngestError, ServerError, first_line
from duckbook.ingest import fingerprints, reading, small_objects, sources
from duckbook.ingest.batches import History
from duckbook.ingest.reading import Reading
from duckbook.ingest.sources import Landed, PostgresSource, Source, StoredSource
from duckbook.redaction import Redactor, secrets_of
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import cast, source_tables
from duckbook.sql import literal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SMALL_BYTES = 4 * 2**20
"""Smaller sources are read concurrently, because reading them mostly waits for a server."""

SMALL_AT_ONCE = 4


@contextmanager
def reader(settings: Settings, endpoints: Endpoints, new: Sequence[Source]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an engine that reads the history and the new sources in S3 and Postgres.

    Raises
    ------
    ServerError
        A server stopped answering.
    IngestError
        DuckDB failed for another reason, such as a full disk.
    """
    try:
        with warehouse.engine(settings, trusted=True) as connection:
            warehouse.halve_memory_limit(connection)
            # Attaching Postgres is slow.
            if any(isinstance(source, PostgresSource) for source in new):
                warehouse.use_landing(connection, endpoints)
            else:
                warehouse.use_s3(connection, endpoints.s3)
            yield connection
    except duckdb.Error as error:
        why = first_line(Redactor(secrets_of(settings, endpoints)).text(str(error)))
        kind = ServerError if isinstance(error, (duckdb.IOException, duckdb.HTTPException)) else IngestError
        raise kind(f"The ingest failed, and nothing was added: {why}. Run it again.") from error


def check_complete(landed: Landed, history: History, settings: Settings) -> None:
    """Check that no table is missing from the landing zone.

    Raises
    ------
    IngestError
        A required table is missing, or a table that was there before.
    """
    present = {source.table for source in landed.sources} | {batch.table for batch in history.batches}
    for table in source_tables().values():
        if table.required and table.name not in present:
            raise IngestError(
                f"{table.name} is missing from the landing zone and is required: land it below "
                f"s3://{settings.s3_historic_bucket}/json/{table.name}/ or in Postgres as "
                f"{settings.postgres_schema}.{table.name}."
            )
    gone = sorted(history.origins - set(landed.origins))
    if gone:
        raise IngestError(
            f"{', '.join(gone)} was in the landing zone before and is missing now: land it again, empty if there is "
            "nothing new. Nothing was ingested."
        )


def find_new(
    settings: Settings, endpoints: Endpoints, landed: Landed, history: History, *, keep: bool = True
) -> list[Source]:
    """Return the sources that may have changed, with their fingerprints; `keep` is that of `fingerprints.find`."""
    tables = [source for source in landed.sources if isinstance(source, PostgresSource)]
    by_name = fingerprints.find(settings, endpoints, tables, keep=keep)
    current = [replace(s, fingerprint=by_name[s.name]) if s.name in by_name else s for s in landed.sources]
    return [
        s
        for s in current
        if s.fingerprint is None or s.fingerprint != history.fingerprints.get(s.name) or _landed_again(s, history)
    ]


def _landed_again(source: Source, history: History) -> bool:
    """Whether an object was put again after its batch was withdrawn."""
    before = history.last_read.get(source.name)
    put_before = history.withdrawn.get(before.batch_id) if before else None
    return put_before is not None and isinstance(source, StoredSource) and source.put_at > put_before


def read_all(
    connection: duckdb.DuckDBPyConnection,
    client: S3Client,
    new: Sequence[Source],
    folder: Path,
    *,
    failed: dict[int, IngestError] | None = None,
) -> list[Reading]:
    """Read sources, some concurrently, into files below a folder.

    Parameters
    ----------
    failed
        Takes the errors of sources that cannot be read, by number; without it the first one is raised.

    Returns
    -------
    list of Reading
        In the order of the sources, without those in `failed`.

    Raises
    ------
    IngestError
        A source cannot be read.
    """

    def read(cursor: duckdb.DuckDBPyConnection, number: int) -> Reading | None:
        subfolder = folder / str(number)
        subfolder.mkdir(exist_ok=True)
        try:
            return reading.read(cursor, client, new[number], subfolder)
        except IngestError as error:
            if failed is None:
                raise
            failed[number] = error
            return None

    def read_in_turn(cursor: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> dict[int, Reading | None]:
        return {number: read(cursor, number) for number in numbers}

    def read_pack(cursor: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> dict[int, Reading | None]:
        pack = {number: tiny[number] for number in numbers}
        together = small_objects.read(cursor, client, pack, folder) if len(pack) > 1 else {}
        return together | read_in_turn(cursor, [number for number in numbers if number not in together])

    tiny = {n: s for n, s in enumerate(new) if isinstance(s, StoredSource) and s.size < small_objects.TINY_BYTES}
    small = [n for n, source in enumerate(new) if source.size < SMALL_BYTES and n not in tiny]
    readings: dict[int, Reading | None] = {}
    # For little data, several threads cost DuckDB more than they save.
    with warehouse.limit_threads(connection, most=1):
        for pack in parallel.run_concurrently(connection, read_pack, small_objects.packs(tiny), SMALL_AT_ONCE):
            readings |= pack
        readings |= dict(zip(small, parallel.run_concurrently(connection, read, small, SMALL_AT_ONCE), strict=True))
    # One at a time per system: two large documents might not fit into memory together.
    large = [
        [n for n, source in enumerate(new) if source.size >= SMALL_BYTES and source.system == system]
        for system in ("postgres", "s3")
    ]
    for of_system in parallel.run_concurrently(connection, read_in_turn, large):
        readings |= of_system
    return [each for n in range(len(new)) if (each := readings[n])]


def check_not_replaced(settings: Settings, endpoints: Endpoints, read: Iterable[Source]) -> None:
    """Check that no Postgres table was replaced while it was read.

    Raises
    ------
    IngestError
        A table was replaced, so its rows and its date may be of different batches.
    """
    before = {s.relation: s for s in read if isinstance(s, PostgresSource)}
    now = {s.relation: s for s in sources.describe(settings, endpoints, list(before))} if before else {}
    for name, source in before.items():
        if name not in now or (now[name].identity, now[name].comment) != (source.identity, source.comment):
            raise IngestError(f"{source.name} was replaced while it was read: run the ingest again.")


def check_as_of(as_of: date | None, fresh: Sequence[Reading], history: History) -> None:
    """Check that a requested as-of date is not before that of the history or the date of a new batch.

    Without one, no batch may declare a future date: it would become the as-of date, which cannot go back.

    Raises
    ------
    IngestError
        The as-of date is too early, or a batch declares a future date.
    """
    if as_of is None:
        known = max(filter(None, [tomorrow(), history.as_of]))
        ahead = max((r for r in fresh if r.date and r.date > known), key=lambda r: r.date or known, default=None)
        if ahead:
            raise IngestError(
                f"{ahead.source.name} declares the date {ahead.date}, which is after today: correct the date and land "
                f"it again, or request that date (AS_OF={ahead.date}). Nothing was ingested."
            )
        return
    if history.as_of and as_of < history.as_of:
        raise IngestError(
            f"The history is as of {history.as_of}, and {as_of} is earlier: use {history.as_of} or a later as-of "
            "date (AS_OF), or another data folder (DATA=folder). Nothing was ingested."
        )
    later = max((r for r in fresh if r.date and r.date > as_of), key=lambda r: r.date or as_of, default=None)
    if later:
        raise IngestError(
            f"{later.source.name} declares the date {later.date}, and the as-of date {as_of} is earlier: use "
            f"{later.date} or a later date (AS_OF). Nothing was ingested."
        )


def as_of_warning(as_of: date | None) -> str:
    """Return a warning about an as-of date in the future; empty for any other date."""
    if as_of is None or as_of <= tomorrow():
        return ""
    return (
        f"AS_OF={as_of} is after today: the next ingest makes it the last day of data, and refuses earlier dates from "
        "then on."
    )


def tomorrow() -> date:
    """Return the latest date that it can be anywhere on earth."""
    return datetime.now(UTC).date() + timedelta(days=1)


def newest_date(connection: duckdb.DuckDBPyConnection, fresh: Sequence[Reading], history: History) -> date:
    """Return the newest of the history's as-of date, the declared dates, and the order dates of undated batches.

    Future order dates are ignored.

    Raises
    ------
    IngestError
        There is no such date.
    """
    dates = [history.as_of, *(r.date for r in fresh)]
    for r in fresh:
        if r.source.table == "orders" and r.date is None and "order_date" in r.columns:
            ordered = cast("order_date", "timestamp")
            [(newest,)] = connection.execute(
                f"select max({ordered})::date from {literal(str(r.path))} where {ordered} < ?", [tomorrow()]
            ).fetchall()
            dates.append(newest)
    known = [known_date for known_date in dates if known_date is not None]
    if not known:
        raise IngestError(
            "The last day of data is unknown: no batch declares a date and no order has an order_date up to today. "
            "Set it, as in `make pipeline AS_OF=2026-06-30`."
        )
    return max(known)
