"""Ingestion: what is new in the landing zone is appended to the history in S3, table by table, whole or not at all.

The history is the truth from which every warehouse is made: ``history/TABLE/batch=BATCH_ID/`` in the historic bucket
holds the rows that are new, the sightings of rows that are unchanged, and the records that could not be read, as
Parquet. Files come first and the commit last, so an ingest that is killed leaves nothing that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from duckbook.backends import storage
from duckbook.ingest import batch_files, commit_log, erased_people, new_sources, sources, transaction
from duckbook.ingest.batches import FLOWS, Batch, Chronicle, Commit
from duckbook.ingest.reading import Reading
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables


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
        Objects below ``json/`` that were not read → why.
    held_back
        Rows and lines of people who were forgotten: left out, or brought in without what tells who they are.
    """

    as_of: date
    number: int | None
    batches: tuple[Batch, ...]
    ignored: dict[str, str]
    held_back: int = 0

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
        A source cannot be read, a table is missing, the as-of date is before what is there, or another ingest is under
        way; nothing was added.
    ServerError
        Postgres or the object store does not answer; nothing was added.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    with transaction.alone(settings, client, "an ingest") as lease, transaction.workspace(settings) as folder:
        chronicle = commit_log.read(client, bucket)
        transaction.sweep(settings, client, chronicle)
        new_sources.check_as_of(as_of, (), chronicle)
        landed = sources.discover(settings, endpoints, client)
        new_sources.check_complete(landed, chronicle, settings)
        new = new_sources.find_new(settings, endpoints, landed, chronicle)
        if not new and as_of in (None, chronicle.as_of):
            return IngestReport(chronicle.as_of, None, (), landed.ignored)
        with new_sources.reader(settings, endpoints, new) as connection:
            readings = new_sources.read_all(connection, client, new, folder)
            new_sources.check_still(settings, endpoints, new)
            fresh, same = without_repeats(readings, chronicle)
            new_sources.check_as_of(as_of, fresh, chronicle)
            fresh, held_back = erased_people.hold_back(connection, fresh, chronicle)
            as_of = as_of or new_sources.newest_date(connection, fresh, chronicle)
            told = {r.source.name: r.source.fingerprint for r in same if r.source.fingerprint}
            if not fresh and not told and as_of == chronicle.as_of:
                return IngestReport(as_of, None, (), landed.ignored, held_back)
            batches, files = batch_files.append(connection, bucket, chronicle, as_of, fresh)
        transaction.upload(settings, client, files)
        commit = Commit(
            number=chronicle.next_number,
            previous=chronicle.digest,
            as_of=as_of,
            origins=landed.origins,
            fingerprints=told,
            batches=tuple(batches),
        )
        lease.renew()
        commit_log.put(client, bucket, commit)
        transaction.forget(settings)
        commit_log.checkpoint(client, bucket, chronicle)
    return IngestReport(as_of, commit.number, commit.batches, landed.ignored, held_back)


def without_repeats(readings: Sequence[Reading], chronicle: Chronicle) -> tuple[list[Reading], list[Reading]]:
    """What brings something, and what was read only to find that it is as it was."""
    fresh, same = [], []
    for r in readings:
        before = chronicle.last_read.get(r.source.name)
        if before and before.batch_id in chronicle.withdrawn and r.source.fingerprint is not None:
            before = None  # What was withdrawn has been landed anew; of a view that cannot be told.
        told = before and (before.content_hash, before.batch_date if before.declared else None)
        (same if told == (r.content_hash, r.date) else fresh).append(r)
    return fresh, same
