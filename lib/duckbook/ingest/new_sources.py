"""What is new in the landing zone: found, checked for what is missing, and read into local files.

Reading changes nothing but files in a folder of the caller's, so that a landing zone can be looked at first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from duckbook.backends import parallel, warehouse
from duckbook.errors import IngestError, ServerError, first_line
from duckbook.ingest import fingerprints, reading, small_objects, sources
from duckbook.ingest.batches import Chronicle
from duckbook.ingest.reading import Reading
from duckbook.ingest.sources import Landed, PostgresSource, Source, StoredSource
from duckbook.redaction import Redactor, secrets_of
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables, timestamp
from duckbook.sql import literal

SMALL_BYTES = 4 * 2**20
"""Sources below this are read several at a time: each leaves the processors idle while it waits for a server."""

SMALL_AT_ONCE = 4


@contextmanager
def reader(settings: Settings, endpoints: Endpoints, new: Sequence[Source]) -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine that reads the history, and what is new in S3 and Postgres.

    Raises
    ------
    ServerError
        A server stopped answering.
    IngestError
        DuckDB gave up for another reason, such as a full disk.
    """
    try:
        with warehouse.engine(settings, trusted=True) as connection:
            warehouse.halve_memory_limit(connection)
            # Attaching Postgres takes a while, and is of no use when nothing is to be read there.
            if any(isinstance(source, PostgresSource) for source in new):
                warehouse.use_landing(connection, endpoints)
            else:
                warehouse.use_s3(connection, endpoints.s3)
            yield connection
    except duckdb.Error as error:
        why = first_line(Redactor(secrets_of(settings, endpoints)).text(str(error)))
        kind = ServerError if isinstance(error, (duckdb.IOException, duckdb.HTTPException)) else IngestError
        raise kind(f"The ingest could not go on, and nothing was added: {why}. Run it again.") from error


def check_complete(landed: Landed, chronicle: Chronicle, settings: Settings) -> None:
    """See that no table is missing from the landing zone.

    Raises
    ------
    IngestError
        A required table is not there, or one is gone that was there before.
    """
    found = {source.table for source in landed.sources} | {batch.table for batch in chronicle.batches}
    for table in source_tables().values():
        if table.required and table.name not in found:
            raise IngestError(
                f"{table.name} is missing from the landing zone, and nothing can be told without it: land it below "
                f"s3://{settings.s3_historic_bucket}/json/{table.name}/ or in Postgres as "
                f"{settings.postgres_schema}.{table.name}."
            )
    gone = sorted(chronicle.origins - set(landed.origins))
    if gone:
        raise IngestError(
            f"{', '.join(gone)} was in the landing zone before and is missing now: land it again, and empty if there "
            "is nothing new. Nothing was ingested."
        )


def find_new(
    settings: Settings, endpoints: Endpoints, landed: Landed, chronicle: Chronicle, *, keep: bool = True
) -> list[Source]:
    """The sources that are not known to be as they were, each with its fingerprint; `keep` as `fingerprints.find`."""
    tables = [source for source in landed.sources if isinstance(source, PostgresSource)]
    found = fingerprints.find(settings, endpoints, tables, keep=keep)
    current = [replace(s, fingerprint=found.get(s.name, s.fingerprint)) for s in landed.sources]
    return [
        s
        for s in current
        if s.fingerprint is None or s.fingerprint != chronicle.fingerprints.get(s.name) or _is_back(s, chronicle)
    ]


def _is_back(source: Source, chronicle: Chronicle) -> bool:
    """Whether an object has been put again since its batch was withdrawn."""
    before = chronicle.last_read.get(source.name)
    put_before = chronicle.withdrawn.get(before.batch_id) if before else None
    return put_before is not None and isinstance(source, StoredSource) and source.put_at > put_before


def read_all(
    connection: duckdb.DuckDBPyConnection, client, new: Sequence[Source], folder: Path, *, stop: bool = True
) -> list[Reading | IngestError]:
    """Read sources, some side by side, into files below a folder; nothing else is changed.

    Parameters
    ----------
    stop
        Whether a source that cannot be read ends it; else the error stands in the place of its reading.

    Returns
    -------
    list of Reading
        In the order of the sources.

    Raises
    ------
    IngestError
        A source cannot be read.
    """

    def read(cursor: duckdb.DuckDBPyConnection, number: int) -> Reading | IngestError:
        mine = folder / str(number)
        mine.mkdir(exist_ok=True)
        try:
            return reading.read(cursor, client, new[number], mine)
        except IngestError as error:
            if stop:
                raise
            return error

    def read_in_turn(cursor: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> dict[int, Reading | IngestError]:
        return {number: read(cursor, number) for number in numbers}

    def read_together(cursor: duckdb.DuckDBPyConnection, numbers: Sequence[int]) -> dict[int, Reading | IngestError]:
        pack = {number: new[number] for number in numbers}
        found = small_objects.read(cursor, client, pack, folder) if len(pack) > 1 else {}
        return found | read_in_turn(cursor, [number for number in numbers if number not in found])

    tiny = {n: s for n, s in enumerate(new) if isinstance(s, StoredSource) and s.size < small_objects.TINY_BYTES}
    small = [n for n, source in enumerate(new) if source.size < SMALL_BYTES and n not in tiny]
    done: dict[int, Reading | IngestError] = {}
    # For little data, DuckDB spends more on sharing a statement out than it saves.
    with warehouse.limit_threads(connection, most=1):
        for found in parallel.run_concurrently(connection, read_together, small_objects.of(tiny), SMALL_AT_ONCE):
            done |= found
        done |= dict(zip(small, parallel.run_concurrently(connection, read, small, SMALL_AT_ONCE), strict=True))
    # Of a system one after the other: two documents that are large would not fit into the memory together.
    large = [
        [n for n, source in enumerate(new) if source.size >= SMALL_BYTES and source.system == system]
        for system in ("postgres", "s3")
    ]
    for found in parallel.run_concurrently(connection, read_in_turn, large):
        done |= found
    return [done[n] for n in range(len(new))]


def check_still(settings: Settings, endpoints: Endpoints, read: Iterable[Source]) -> None:
    """See that no Postgres table was replaced while it was read.

    Raises
    ------
    IngestError
        One was, so that its rows and its date may be of different batches.
    """
    before = {s.relation: s for s in read if isinstance(s, PostgresSource)}
    now = {s.relation: s for s in sources.describe(settings, endpoints, list(before))} if before else {}
    for name, source in before.items():
        if name not in now or (now[name].identity, now[name].comment) != (source.identity, source.comment):
            raise IngestError(f"{source.name} was replaced while it was read: run the ingest again.")


def check_as_of(as_of: date | None, fresh: Sequence[Reading], chronicle: Chronicle) -> None:
    """See that an as-of date that was asked for is not before what the history or a new batch is of.

    Where none was asked for, a batch is not to declare a day that has not come: the as-of date would be that day, and
    could not go back.

    Raises
    ------
    IngestError
        It is: marts that are built as of it would hold what it says has not happened yet. Or a batch does.
    """
    if as_of is None:
        known = max(filter(None, [tomorrow(), chronicle.as_of]))
        ahead = max((r for r in fresh if r.date and r.date > known), key=lambda r: r.date, default=None)
        if ahead:
            raise IngestError(
                f"{ahead.source.name} declares the date {ahead.date}, which is after today: correct the date and land "
                f"it again, or ask for that day (AS_OF={ahead.date}). Nothing was ingested."
            )
        return
    if chronicle.as_of and as_of < chronicle.as_of:
        raise IngestError(
            f"The history is as of {chronicle.as_of}, and {as_of} is earlier: take {chronicle.as_of} or a later as-of "
            "date (AS_OF), or another data folder (DATA=folder). Nothing was ingested."
        )
    later = max((r for r in fresh if r.date and r.date > as_of), key=lambda r: r.date, default=None)
    if later:
        raise IngestError(
            f"{later.source.name} declares the date {later.date}, and the as-of date {as_of} is earlier: take "
            f"{later.date} or a later one (AS_OF). Nothing was ingested."
        )


def told_of(as_of: date | None) -> str:
    """What a person should know of an as-of date that is asked for; empty for one that has come."""
    if as_of is None or as_of <= tomorrow():
        return ""
    return (
        f"AS_OF={as_of} is after today: with the next ingest it becomes the last day of data, and an earlier day is "
        "refused from then on."
    )


def tomorrow() -> date:
    """The last day that it can be today somewhere on earth."""
    return datetime.now(UTC).date() + timedelta(days=1)


def newest_date(connection: duckdb.DuckDBPyConnection, fresh: Sequence[Reading], chronicle: Chronicle) -> date:
    """The newest of the dates that sources declare, of the dates of orders that came without one, and of what was.

    Orders of days that have not come tell nothing.

    Raises
    ------
    IngestError
        There is no such date.
    """
    dates = [chronicle.as_of, *(r.date for r in fresh)]
    for r in fresh:
        if r.source.table == "orders" and r.date is None and "order_date" in r.columns:
            ordered = timestamp("nullif(trim(order_date), '')")
            (newest,) = connection.execute(
                f"select max({ordered})::date from {literal(str(r.path))} where {ordered} < ?", [tomorrow()]
            ).fetchone()
            dates.append(newest)
    known = [found for found in dates if found is not None]
    if not known:
        raise IngestError(
            "The last day of data cannot be told: no batch declares a date and no order has an order_date up to today. "
            "Name it, as in `make pipeline AS_OF=2026-06-30`."
        )
    return max(known)
