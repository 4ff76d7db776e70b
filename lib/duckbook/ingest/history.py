"""Ingestion: append what is new in the landing zone to the history in S3, atomically.

Every warehouse is built from the history: ``history/TABLE/batch=BATCH_ID/`` in the historic bucket holds a batch's new
rows, its unchanged rows (``sightings.parquet``: key, hash and number) and its unreadable records. Files are written
first and the commit last, so a killed ingest adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from duckbook.backends import storage
from duckbook.ingest import batch_files, commit_log, erased_people, new_sources, sources, transaction
from duckbook.ingest.batches import FLOWS, Batch, Commit, History
from duckbook.ingest.reading import Reading
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables


@dataclass(frozen=True)
class IngestReport:
    """The result of an ingest.

    Attributes
    ----------
    as_of
        The last day of data.
    number
        Number of the commit; None if there was nothing to commit.
    batches
        The new batches.
    ignored
        Objects below ``json/`` that were not read → reason.
    rows_of_erased
        Rows and lines of erased people: left out, or ingested without personal data.
    """

    as_of: date
    number: int | None
    batches: tuple[Batch, ...]
    ignored: dict[str, str]
    rows_of_erased: int = 0

    @property
    def tables(self) -> list[dict[str, Any]]:
        """Row counts of this ingest, one dict per source table, including tables without new batches."""
        return [
            {"table": name} | {flow: sum(getattr(b, flow) for b in self.batches if b.table == name) for flow in FLOWS}
            for name in source_tables()
        ]


def ingest(settings: Settings, endpoints: Endpoints, as_of: date | None = None) -> IngestReport:
    """Append what is new in the landing zone to the history.

    Parameters
    ----------
    as_of
        Last day of data; None for the newest date that a source declares or, without one, of an order.

    Raises
    ------
    IngestError
        A source cannot be read, a table is missing, the as-of date is too early, or another ingest is running; nothing
        was added.
    ServerError
        Postgres or the object storage does not answer; nothing was added.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    with transaction.exclusive(settings, client, "an ingest") as lease, transaction.workspace(settings) as folder:
        history = commit_log.read(client, bucket)
        transaction.sweep(settings, client, history)
        new_sources.check_as_of(as_of, (), history)
        landed = sources.discover(settings, endpoints, client)
        new_sources.check_complete(landed, history, settings)
        new = new_sources.find_new(settings, endpoints, landed, history)
        if not new and history.as_of and as_of in (None, history.as_of):
            return IngestReport(history.as_of, None, (), landed.ignored)
        with new_sources.reader(settings, endpoints, new) as connection:
            readings = new_sources.read_all(connection, client, new, folder)
            new_sources.check_not_replaced(settings, endpoints, new)
            fresh, same = without_repeats(readings, history)
            new_sources.check_as_of(as_of, fresh, history)
            fresh, rows_of_erased = erased_people.remove_erased(connection, fresh, history)
            as_of = as_of or new_sources.newest_date(connection, fresh, history)
            fingerprints = {r.source.name: r.source.fingerprint for r in same if r.source.fingerprint}
            if not fresh and not fingerprints and as_of == history.as_of:
                return IngestReport(as_of, None, (), landed.ignored, rows_of_erased)
            batches, files = batch_files.append(connection, bucket, history, as_of, fresh)
        transaction.upload(settings, client, files)
        commit = Commit(
            number=history.next_number,
            previous=history.digest,
            as_of=as_of,
            origins=landed.origins,
            fingerprints=fingerprints,
            batches=tuple(batches),
        )
        lease.renew()
        commit_log.put(client, bucket, commit)
        transaction.clear_note(settings)
        commit_log.checkpoint(client, bucket, history)
    return IngestReport(as_of, commit.number, commit.batches, landed.ignored, rows_of_erased)


def without_repeats(readings: Sequence[Reading], history: History) -> tuple[list[Reading], list[Reading]]:
    """Split readings into those with new content and those whose source turned out to be the same."""
    fresh: list[Reading] = []
    same: list[Reading] = []
    for r in readings:
        before = history.last_read.get(r.source.name)
        if before and before.batch_id in history.withdrawn and r.source.fingerprint is not None:
            before = None  # A withdrawn batch that landed again. A view has no fingerprint that would show it.
        last = before and (before.content_hash, before.batch_date if before.declared else None)
        (same if last == (r.content_hash, r.date) else fresh).append(r)
    return fresh, same
