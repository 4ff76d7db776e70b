"""Ingestion: what is new in the landing zone is appended to the history in S3, table by table, whole or not at all.

The history is the truth from which every warehouse is made: ``history/TABLE/batch=BATCH_ID/`` in the historic bucket
holds the rows that are new, the sightings of rows that are unchanged, and the records that could not be read, as
Parquet. Files come first and the commit last, so an ingest that is killed leaves nothing that counts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from duckbook import appending, commit_log, reading, sources, storage, warehouse
from duckbook.batches import FLOWS, Batch, Chronicle, Commit
from duckbook.endpoints import Endpoints
from duckbook.errors import IngestError
from duckbook.reading import Reading
from duckbook.rows import literal
from duckbook.settings import Settings
from duckbook.sources import Landed, PostgresSource, Source
from duckbook.tables import source_tables

SMALL_BYTES = 4 * 2**20
"""Sources below this are read several at a time: each leaves the processors idle while it waits for a server."""

LOCK_SECONDS = 600


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    as_of
        The last day of data.
    number
        Number of the commit; None when there was nothing to commit.
    batches
        The batches that came in.
    ignored
        Objects below ``json/`` that belong to no source table, and were not read.
    """

    as_of: date
    number: int | None
    batches: tuple[Batch, ...]
    ignored: tuple[str, ...]

    @property
    def tables(self) -> list[dict]:
        """Per source table, also those to which nothing came: table and the flows of this ingest, in rows."""
        return [
            {"table": name} | {flow: sum(getattr(b, flow) for b in self.batches if b.table == name) for flow in FLOWS}
            for name in source_tables()
        ]


def ingest(settings: Settings, endpoints: Endpoints, as_of: date | None = None) -> IngestReport:
    """Bring what is new in the landing zone into the history.

    Parameters
    ----------
    as_of
        Last day of data; None for the newest date that a source declares, or else of an order.

    Raises
    ------
    IngestError
        A source cannot be read, a table is missing, or another ingest is under way; nothing was added.
    ServerError
        Postgres or the object store does not answer; nothing was added.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    with _alone(settings), _workspace(settings) as folder:
        chronicle = commit_log.read(client, bucket)
        _sweep(settings, client, chronicle)
        landed = sources.discover(settings, endpoints, client)
        check_complete(landed, chronicle, settings)
        new = find_new(endpoints, landed, chronicle)
        if not new and as_of in (None, chronicle.as_of):
            return IngestReport(chronicle.as_of, None, (), landed.ignored)
        with warehouse.engine(settings) as connection:
            use_what_is_read(connection, endpoints, new)
            readings = read_all(connection, client, new, folder)
            check_still(settings, endpoints, new)
            fresh, same = _without_repeats(readings, chronicle)
            as_of = as_of or newest_date(connection, fresh, chronicle)
            told = {r.source.name: r.source.fingerprint for r in same if r.source.fingerprint}
            if not fresh and not told and as_of == chronicle.as_of:
                return IngestReport(as_of, None, (), landed.ignored)
            batches, files = appending.append(connection, bucket, chronicle, as_of, fresh)
        _upload(settings, client, files)
        commit = Commit(
            number=chronicle.next_number,
            previous=chronicle.digest,
            as_of=as_of,
            origins=landed.origins,
            fingerprints=told,
            batches=tuple(batches),
        )
        commit_log.put(client, bucket, commit)
        _open_file(settings).unlink(missing_ok=True)
    return IngestReport(as_of, commit.number, commit.batches, landed.ignored)


def use_what_is_read(connection: duckdb.DuckDBPyConnection, endpoints: Endpoints, new: Sequence[Source]) -> None:
    """Let a connection read S3, and Postgres where something is to be read there: attaching it takes a while."""
    if any(isinstance(source, PostgresSource) for source in new):
        warehouse.use_landing(connection, endpoints)
    else:
        warehouse.use_s3(connection, endpoints.s3)


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


def find_new(endpoints: Endpoints, landed: Landed, chronicle: Chronicle) -> list[Source]:
    """The sources that are not known to be as they were, each with its fingerprint where it has one."""
    states = sources.fingerprints(endpoints, [s for s in landed.sources if isinstance(s, PostgresSource)])
    current = [replace(s, fingerprint=states.get(s.name, s.fingerprint)) for s in landed.sources]
    return [s for s in current if s.fingerprint is None or s.fingerprint != chronicle.fingerprints.get(s.name)]


def read_all(connection: duckdb.DuckDBPyConnection, client, new: Sequence[Source], folder: Path) -> list[Reading]:
    """Read sources into files below a folder, in the order given; nothing else is changed.

    Raises
    ------
    IngestError
        A source cannot be read.
    """

    def read(number: int) -> Reading:
        mine = folder / str(number)
        mine.mkdir()
        with connection.cursor() as cursor:
            return reading.read(cursor, client, new[number], mine)

    small = [n for n, source in enumerate(new) if source.size < SMALL_BYTES]
    large = [n for n, source in enumerate(new) if source.size >= SMALL_BYTES]
    with ThreadPoolExecutor(4) as pool:
        done = dict(zip(small, pool.map(read, small), strict=True))
    done |= {n: read(n) for n in large}
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


def newest_date(connection: duckdb.DuckDBPyConnection, fresh: Sequence[Reading], chronicle: Chronicle) -> date:
    """The newest of the dates that sources declare, of the dates of orders that came without one, and of what was.

    Raises
    ------
    IngestError
        There is no such date.
    """
    dates = [chronicle.as_of, *(r.date for r in fresh)]
    for r in fresh:
        if r.source.table == "orders" and r.date is None and "order_date" in r.columns:
            ordered = "try_cast(order_date as timestamp)"
            (newest,) = connection.execute(
                f"select max({ordered})::date from {literal(str(r.path))} where {ordered} < timestamp '2200-01-01'"
            ).fetchone()
            dates.append(newest)
    known = [found for found in dates if found is not None]
    if not known:
        raise IngestError(
            "The last day of data cannot be told: no batch declares a date and no order has an order_date. "
            "Name it, as in `make pipeline AS_OF=2026-06-30`."
        )
    return max(known)


def _without_repeats(readings: Sequence[Reading], chronicle: Chronicle) -> tuple[list[Reading], list[Reading]]:
    """What brings something, and what was read only to find that it is as it was."""
    fresh, same = [], []
    for r in readings:
        before = chronicle.newest.get(r.source.name)
        told = before and (before.content_hash, before.batch_date if before.declared else None)
        (same if told == (r.content_hash, r.date) else fresh).append(r)
    return fresh, same


def _upload(settings: Settings, client, files: dict[str, Path]) -> None:
    """Put the files of batches that are not committed yet, and note them down first."""
    note = _open_file(settings)
    note.write_text(json.dumps({"bucket": settings.s3_historic_bucket, "keys": sorted(files)}), "utf-8")

    def put(key: str) -> None:
        path = files[key]
        if path.stat().st_size < SMALL_BYTES:
            storage.put_bytes(client, settings.s3_historic_bucket, key, path.read_bytes())
        else:
            storage.upload(client, path, settings.s3_historic_bucket, key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, files))


def _sweep(settings: Settings, client, chronicle: Chronicle) -> None:
    """Delete what an ingest that was killed here had put and not committed."""
    note = _open_file(settings)
    if not note.exists():
        return
    try:
        left = json.loads(note.read_text("utf-8"))
    except ValueError:  # killed while it wrote the note, so before it put anything
        left = {"bucket": settings.s3_historic_bucket, "keys": []}
    named = {key for batch in chronicle.batches for key in batch.files.values()}
    for key in set(left["keys"]) - named:
        storage.delete(client, left["bucket"], key)
    note.unlink()


def _open_file(settings: Settings) -> Path:
    return settings.data / "ingest-open.json"


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One ingest at a time on a machine; a second waits."""
    settings.data.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.data / "ingest.lock", timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise IngestError(
            "Another ingest of this store has been under way for ten minutes: wait for it to end, or stop it."
        ) from None


@contextmanager
def _workspace(settings: Settings) -> Iterator[Path]:
    """An empty folder for the files of one ingest; the lock makes it ours alone."""
    folder = settings.data / "tmp" / "ingest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
