"""Withdrawing batches: taken out of the history, as if they had never been ingested, and not read again.

A batch that saw rows of a withdrawn one again names them by their keys alone: it gets these rows itself. So does one
that has another before it now, because a batch without a date had taken that of the withdrawn one. What is left of the
history is written beside what was there, one commit names it, and the files of the withdrawn batches are deleted after
it. A warehouse that was loaded before is made anew when it is next loaded. The source stays in the landing zone; it
comes in again once it is landed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook.backends import storage, warehouse
from duckbook.errors import IngestError
from duckbook.ingest import commit_log, new_sources, transaction, versions
from duckbook.ingest.batches import Batch, Commit, History, Withdrawal, file_key
from duckbook.ingest.sources import PREFIX
from duckbook.ingest.versions import File
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables, timestamp
from duckbook.sql import PARQUET, listed, literal

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Withdrawn:
    """What was withdrawn: the batches, the as-of date after it, and how many of their rows other batches had seen."""

    batches: tuple[Batch, ...]
    as_of: date
    kept: int


def withdraw(settings: Settings, endpoints: Endpoints, names: Sequence[str]) -> Withdrawn:
    """Take batches out of the history.

    Parameters
    ----------
    names
        Batch ids, or addresses of sources, whose newest batch is meant.

    Raises
    ------
    IngestError
        The history has no such batch.
    ServerError
        The object store does not answer; nothing is withdrawn then.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    with (
        transaction.exclusive(settings, client, "a withdrawal") as lease,
        transaction.workspace(settings) as folder,
        warehouse.engine(settings) as engine,
    ):
        chronicle = commit_log.read(client, bucket)
        transaction.sweep(settings, client, chronicle)
        warehouse.use_s3(engine, endpoints.s3)
        batches = _named(chronicle, names)
        as_of, redated = _redated(engine, bucket, chronicle, batches)
        left = _Left(engine, bucket, chronicle, batches, redated, folder)
        for table in dict.fromkeys([batch.table for batch in batches if "rows" in batch.files] + left.moved):
            left.keep_rows_of(table)
        put_at = {
            f"s3://{place}/{stored.key}": stored.put_at.isoformat()
            for place in (settings.s3_historic_bucket, settings.s3_latest_bucket)
            for stored in storage.list_objects(client, place, PREFIX)
        }
        withdrawal = Withdrawal({b.batch_id: put_at.get(b.source, "") for b in batches}, left.amended)
        commit = Commit(chronicle.next_number, chronicle.digest, as_of, (), {}, (), withdrawn=withdrawal)
        files_of_them = [key for batch in batches for key in batch.files.values()]
        transaction.upload(settings, client, left.files, [*left.replaced, *files_of_them])
        lease.renew()
        commit_log.put(client, bucket, commit)
        transaction.sweep(settings, client, History((*chronicle.commits, commit)))
    return Withdrawn(tuple(batches), as_of, left.kept)


def _named(chronicle: History, names: Iterable[str]) -> list[Batch]:
    known = {batch.batch_id: batch for batch in chronicle.batches}
    found: dict[str, Batch] = {}
    for name in names:
        batch = known.get(name) or chronicle.newest.get(name)
        if batch is None:
            again = name in chronicle.withdrawn or name in chronicle.last_read
            raise IngestError(
                f"{name} has been withdrawn already."
                if again
                else f"The history has no batch {name}: take a batch_id of ecom_raw.batches, or the address of its "
                "source, such as s3://historic-ecom/json/orders/date=2026-06-30/orders.ndjson."
            )
        found[batch.batch_id] = batch
    return list(found.values())


def _redated(
    engine: duckdb.DuckDBPyConnection, bucket: str, chronicle: History, batches: Sequence[Batch]
) -> tuple[date, dict[str, dict[str, Any]]]:
    """The as-of date without these batches, and what is different then of others that took theirs from them."""
    gone, as_of, redated, told = {batch.batch_id for batch in batches}, None, {}, set()
    live = {batch.batch_id: batch for batch in chronicle.batches if batch.batch_id not in gone}
    for commit in chronicle.commits:
        withdrawn = [b for b in commit.batches if b.batch_id in gone]
        told |= {b.batch_date for b in withdrawn if b.declared}
        told |= set(filter(None, _order_dates(engine, bucket, withdrawn)))
        mine = [live[b.batch_id] for b in commit.batches if b.batch_id in live]
        now = commit.as_of
        if now in told:
            dates = [as_of, *(b.batch_date for b in mine if b.declared), *_order_dates(engine, bucket, mine)]
            now = max(filter(None, dates), default=now)
        for batch in mine:
            if now != commit.as_of == batch.as_of:
                dated = {} if batch.declared else {"batch_date": now}
                redated[batch.batch_id] = {"as_of": now} | dated
        as_of = now
    return as_of, redated


def _order_dates(engine, bucket: str, batches: Iterable[Batch]) -> list[date]:
    """The last day of the orders of batches that declare no date."""
    files = [
        f"s3://{bucket}/{batch.files['rows']}"
        for batch in batches
        if batch.table == "orders" and not batch.declared and "rows" in batch.files and "order_date" in batch.columns
    ]
    if not files:
        return []
    ordered = timestamp("nullif(trim(order_date), '')")
    query = f"select max({ordered})::date from read_parquet({listed(files)}, union_by_name = true) where {ordered} < ?"
    return list(engine.execute(query, [new_sources.tomorrow()]).fetchone())


class _Left:
    """What is left of the history without some batches, as far as it differs from what was there."""

    def __init__(self, engine, bucket: str, chronicle: History, gone: Sequence[Batch], redated: dict, folder: Path):
        self.engine, self.bucket, self.folder, self.gone = engine, bucket, folder, gone
        self.files: dict[str, Path] = {}
        self.replaced: list[str] = []
        self.amended: dict[str, dict[str, Any]] = {name: dict(values) for name, values in redated.items()}
        self.kept = 0
        ids = {batch.batch_id for batch in gone}
        # A batch that gets an earlier date may come to stand before others that were compared without it.
        self.moved = [batch.table for batch in chronicle.batches if "batch_date" in redated.get(batch.batch_id, {})]
        self.batches = [
            replace(batch, **redated.get(batch.batch_id, {}))
            for batch in chronicle.batches
            if batch.batch_id not in ids
        ]

    def keep_rows_of(self, table: str) -> None:
        """Give the batches of a table the rows that they saw again in one that is gone, or that has moved."""
        mine = [batch for batch in self.batches if batch.table == table]
        sighted = [batch for batch in mine if "sightings" in batch.files]
        gone = [batch for batch in self.gone if batch.table == table] + (mine if table in self.moved else [])
        files = [self._address(batch, "rows") for batch in gone if "rows" in batch.files]
        if not sighted or not files:
            return
        read = f"read_parquet({listed(files)}, union_by_name = true, hive_partitioning = false)"
        key = ", _key" if "_key" in self._columns_of(read) else ""
        self.engine.execute(f"create or replace temp table lost as select distinct on (_row_hash{key}) * from {read}")
        seen = {batch.batch_id: self._seen_again(batch) for batch in sighted}
        seen = {name: path for name, path in seen.items() if path}
        if not seen:
            return
        # Asked as if they landed now: which of them are what precedes them among what is left?
        landed = [
            File(str(seen[b.batch_id]), self._columns(seen[b.batch_id]), b.types, b.place)
            for b in sighted
            if b.batch_id in seen
        ]
        others = [
            (
                str(seen[b.batch_id].with_name("others.parquet"))
                if b.batch_id in seen
                else self._address(b, "sightings"),
                b,
            )
            for b in sighted
        ]
        versions.find_unchanged(
            self.engine,
            source_tables()[table],
            landed=landed,
            appended=[File(self._address(b, "rows"), b.columns, b.types, b.place) for b in mine if "rows" in b.files],
            unchanged_before=[(path, batch.place) for path, batch in others],
            rows_landed=sum(batch.unchanged for batch in sighted if batch.batch_id in seen),
        )
        for batch in sighted:
            if batch.batch_id in seen:
                self._give(batch, seen[batch.batch_id])

    def _seen_again(self, batch: Batch) -> Path | None:
        """Write the rows that are gone and that a batch has seen again, and its other sightings; None: no rows."""
        folder = self.folder / batch.batch_id
        folder.mkdir()
        path, sightings = folder / "seen.parquet", literal(self._address(batch, "sightings"))
        columns = self._columns_of("lost")
        lost = "lost.* exclude (_row_number)" if "_row_number" in columns else "lost.*"
        # Rows without a key of their own may be equal and still be two.
        key = "(lost._key is null or lost._key = seen._key)" if "_key" in columns else "true"
        (count,) = self.engine.execute(
            f"copy (select {lost}, seen._row_number from lost inner join {sightings} as seen "
            f"on lost._row_hash = seen._row_hash and {key} order by seen._row_number) to {literal(str(path))} {PARQUET}"
        ).fetchone()
        others = f"select * from {sightings} where _row_number not in (select _row_number from {literal(str(path))})"
        self.engine.execute(
            f"copy ({others} order by _row_number) to {literal(str(folder / 'others.parquet'))} {PARQUET}"
        )
        return path if count else None

    def _give(self, batch: Batch, seen: Path) -> None:
        """Make rows of a batch of those that are no longer what precedes them."""
        file, number = literal(str(seen)), "_row_number"
        # Where its own file holds what it saw again, what is asked for stands beside itself: it is given all.
        still = (
            ""
            if batch.with_sightings
            else f"where {number} not in (select row_number from unchanged where file = {file})"
        )
        given = f"(select * from {file} {still})"
        (count,) = self.engine.execute(f"select count(*) from {given}").fetchone()
        if not count:
            return
        written, flows = {}, {"appended": batch.appended + count, "unchanged": batch.unchanged - count}
        sightings = literal(self._address(batch, "sightings"))
        queries = {"sightings": f"select * from {sightings} where {number} not in (select {number} from {given})"}
        columns = batch.columns
        if not batch.with_sightings:
            queries["rows"] = f"select * from {given}"
            if "rows" in batch.files:
                held = literal(self._address(batch, "rows"))
                queries["rows"] = f"select * from {held} union all by name select * from {given}"
            columns = tuple(dict.fromkeys((*(columns if "rows" in batch.files else ()), *self._columns(seen))))
        for role, query in queries.items():
            if role == "rows" or flows["unchanged"]:
                path = seen.with_name(f"{role}.parquet")
                self.engine.execute(f"copy ({query} order by {number}) to {literal(str(path))} {PARQUET}")
                key = file_key(batch.table, batch.batch_id, role)
                written[role], self.files[key] = key, path
        self.replaced += [key for role, key in batch.files.items() if role in queries]
        files = {role: key for role, key in batch.files.items() if role not in queries} | written
        sums = {role: value for role, value in batch.sha256.items() if role in files and role not in written}
        for role, key in written.items():
            with self.files[key].open("rb") as content:
                sums[role] = file_digest(content, "sha256").hexdigest()
        values = flows | {"files": files, "sha256": sums, "columns": columns}
        if batch.with_sightings and not flows["unchanged"]:
            values["with_sightings"] = False
        self.amended[batch.batch_id] = self.amended.get(batch.batch_id, {}) | values
        self.kept += count

    def _address(self, batch: Batch, role: str) -> str:
        return f"s3://{self.bucket}/{batch.files[role]}"

    def _columns_of(self, relation: str) -> list[str]:
        return [name for name, *_ in self.engine.execute(f"describe select * from {relation}").fetchall()]

    def _columns(self, path: Path) -> tuple[str, ...]:
        return tuple(self._columns_of(literal(str(path))))
