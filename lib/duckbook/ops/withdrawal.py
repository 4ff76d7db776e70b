"""Withdraw batches: remove them from the history as if they had never been ingested.

Another batch that held some of a withdrawn batch's rows unchanged has only their keys, so these rows are copied into
its own files. The same holds after a batch without a date, which took its date from the withdrawn one, moves to an
earlier place. The new files are written next to the old ones, one commit names them, and then the files of the
withdrawn batches are deleted. A warehouse that was loaded before is rebuilt by its next load. The source stays in the
landing zone and is not read again until it is landed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook.backends import storage, warehouse
from duckbook.errors import IngestError
from duckbook.files import checksum
from duckbook.ingest import commit_log, new_sources, transaction, versions
from duckbook.ingest.batches import Batch, Commit, History, Withdrawal, file_key
from duckbook.ingest.sources import PREFIX
from duckbook.ingest.versions import File
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import cast, source_tables
from duckbook.sql import PARQUET, listed, literal

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Withdrawn:
    """The withdrawn batches, the new as-of date, and how many of their rows other batches keep."""

    batches: tuple[Batch, ...]
    as_of: date
    kept: int


def withdraw(settings: Settings, endpoints: Endpoints, names: Sequence[str]) -> Withdrawn:
    """Remove batches from the history.

    Parameters
    ----------
    names
        Batch ids, or addresses of sources, which stand for their newest batch.

    Raises
    ------
    IngestError
        The history has no such batch.
    ServerError
        The object storage does not answer. Nothing is withdrawn.
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
        batches = _find_batches(chronicle, names)
        as_of, redated = _redated(engine, bucket, chronicle, batches)
        remainder = _Remainder(engine, bucket, chronicle, batches, redated, folder)
        for table in dict.fromkeys([batch.table for batch in batches if "rows" in batch.files] + remainder.moved):
            remainder.restore_rows(table)
        put_at = {
            f"s3://{place}/{stored.key}": stored.put_at.isoformat()
            for place in (settings.s3_historic_bucket, settings.s3_latest_bucket)
            for stored in storage.list_objects(client, place, PREFIX)
        }
        withdrawal = Withdrawal({b.batch_id: put_at.get(b.source, "") for b in batches}, remainder.amended)
        commit = Commit(chronicle.next_number, chronicle.digest, as_of, (), {}, (), withdrawn=withdrawal)
        withdrawn_files = [key for batch in batches for key in batch.files.values()]
        transaction.upload(settings, client, remainder.files, [*remainder.replaced, *withdrawn_files])
        lease.renew()
        commit_log.put(client, bucket, commit)
        transaction.sweep(settings, client, History((*chronicle.commits, commit)))
    return Withdrawn(tuple(batches), as_of, remainder.kept)


def _find_batches(chronicle: History, names: Iterable[str]) -> list[Batch]:
    by_id = {batch.batch_id: batch for batch in chronicle.batches}
    found: dict[str, Batch] = {}
    for name in names:
        batch = by_id.get(name) or chronicle.newest.get(name)
        if batch is None:
            is_withdrawn = name in chronicle.withdrawn or name in chronicle.last_read
            raise IngestError(
                f"{name} has been withdrawn already."
                if is_withdrawn
                else f"The history has no batch {name}: name a batch_id of ecom_raw.batches or the address of its "
                "source, such as s3://historic-ecom/json/orders/date=2026-06-30/orders.ndjson."
            )
        found[batch.batch_id] = batch
    return list(found.values())


def _redated(
    engine: duckdb.DuckDBPyConnection, bucket: str, chronicle: History, batches: Sequence[Batch]
) -> tuple[date, dict[str, dict[str, Any]]]:
    """Return the as-of date without these batches, and batch id → new dates of batches that took theirs from them."""
    ids = {batch.batch_id for batch in batches}
    ends: list[date] = []
    redated: dict[str, dict[str, Any]] = {}
    withdrawn_dates: set[date] = set()
    kept = {batch.batch_id: batch for batch in chronicle.batches if batch.batch_id not in ids}
    for commit in chronicle.commits:
        withdrawn = [b for b in commit.batches if b.batch_id in ids]
        withdrawn_dates |= {b.batch_date for b in withdrawn if b.declared}
        withdrawn_dates |= set(filter(None, _order_dates(engine, bucket, withdrawn)))
        remaining = [kept[b.batch_id] for b in commit.batches if b.batch_id in kept]
        now = commit.as_of
        if now in withdrawn_dates:
            declared = [b.batch_date for b in remaining if b.declared]
            dates = [*ends[-1:], *declared, *_order_dates(engine, bucket, remaining)]
            now = max(filter(None, dates), default=now)
        for batch in remaining:
            if now != commit.as_of == batch.as_of:
                dated = {} if batch.declared else {"batch_date": now}
                redated[batch.batch_id] = {"as_of": now} | dated
        ends.append(now)
    return ends[-1], redated


def _order_dates(engine, bucket: str, batches: Iterable[Batch]) -> list[date]:
    """Return the last order date of the batches that declare no date, as a list of at most one."""
    files = [
        f"s3://{bucket}/{batch.files['rows']}"
        for batch in batches
        if batch.table == "orders" and not batch.declared and "rows" in batch.files and "order_date" in batch.columns
    ]
    if not files:
        return []
    ordered = cast("order_date", "timestamp")
    query = f"select max({ordered})::date from read_parquet({listed(files)}, union_by_name = true) where {ordered} < ?"
    return list(engine.execute(query, [new_sources.tomorrow()]).fetchone())


class _Remainder:
    """The batches that remain, and their new files and amendments."""

    def __init__(
        self, engine, bucket: str, chronicle: History, withdrawn: Sequence[Batch], redated: dict, folder: Path
    ):
        self.engine, self.bucket, self.folder, self.withdrawn = engine, bucket, folder, withdrawn
        self.files: dict[str, Path] = {}
        self.replaced: list[str] = []
        self.amended: dict[str, dict[str, Any]] = {name: dict(values) for name, values in redated.items()}
        self.kept = 0
        ids = {batch.batch_id for batch in withdrawn}
        # A batch with an earlier date may now precede batches that were compared without it.
        self.moved = [batch.table for batch in chronicle.batches if "batch_date" in redated.get(batch.batch_id, {})]
        self.batches = [
            replace(batch, **redated.get(batch.batch_id, {}))
            for batch in chronicle.batches
            if batch.batch_id not in ids
        ]

    def restore_rows(self, table: str) -> None:
        """Copy unchanged rows into the batches of a table whose originals are in a withdrawn or moved batch."""
        remaining = [batch for batch in self.batches if batch.table == table]
        with_unchanged = [batch for batch in remaining if "sightings" in batch.files]
        origins = [batch for batch in self.withdrawn if batch.table == table]
        origins += remaining if table in self.moved else []
        files = [self._address(batch, "rows") for batch in origins if "rows" in batch.files]
        if not with_unchanged or not files:
            return
        read = f"read_parquet({listed(files)}, union_by_name = true, hive_partitioning = false)"
        key = ", _key" if "_key" in self._columns_of(read) else ""
        self.engine.execute(
            f"create or replace temp table originals as select distinct on (_row_hash{key}) * from {read}"
        )
        paths = {batch.batch_id: self._write_restored(batch) for batch in with_unchanged}
        restored = {batch_id: path for batch_id, path in paths.items() if path}
        if not restored:
            return
        # Compare as if these rows landed now: which are still unchanged against the remaining history?
        affected = [batch for batch in with_unchanged if batch.batch_id in restored]
        unchanged = [
            (
                str(restored[b.batch_id].with_name("others.parquet"))
                if b.batch_id in restored
                else self._address(b, "sightings"),
                b.place,
            )
            for b in with_unchanged
        ]
        versions.find_unchanged(
            self.engine,
            source_tables()[table],
            landed=[
                File(str(restored[b.batch_id]), self._columns(restored[b.batch_id]), b.types, b.place) for b in affected
            ],
            appended=[
                File(self._address(b, "rows"), b.columns, b.types, b.place) for b in remaining if "rows" in b.files
            ],
            unchanged_before=unchanged,
            rows_landed=sum(batch.unchanged for batch in affected),
        )
        for batch in affected:
            self._add_rows(batch, restored[batch.batch_id])

    def _write_restored(self, batch: Batch) -> Path | None:
        """Write the rows that a batch holds unchanged from `originals`, and its other unchanged rows; None if none."""
        folder = self.folder / batch.batch_id
        folder.mkdir()
        path, unchanged = folder / "restored.parquet", literal(self._address(batch, "sightings"))
        columns = self._columns_of("originals")
        original = "originals.* exclude (_row_number)" if "_row_number" in columns else "originals.*"
        # Distinct rows may be equal if they have no key.
        key = "(originals._key is null or originals._key = unchanged._key)" if "_key" in columns else "true"
        (count,) = self.engine.execute(
            f"copy (select {original}, unchanged._row_number from originals inner join {unchanged} as unchanged "
            f"on originals._row_hash = unchanged._row_hash and {key} order by unchanged._row_number) "
            f"to {literal(str(path))} {PARQUET}"
        ).fetchone()
        others = f"select * from {unchanged} where _row_number not in (select _row_number from {literal(str(path))})"
        self.engine.execute(
            f"copy ({others} order by _row_number) to {literal(str(folder / 'others.parquet'))} {PARQUET}"
        )
        return path if count else None

    def _add_rows(self, batch: Batch, restored: Path) -> None:
        """Add restored rows to a batch, except those that are still unchanged."""
        file, number = literal(str(restored)), "_row_number"
        # A batch whose own file has its unchanged rows would be compared with itself: add all of them.
        still_unchanged = (
            ""
            if batch.with_sightings
            else f"where {number} not in (select row_number from unchanged where file = {file})"
        )
        added = f"(select * from {file} {still_unchanged})"
        (count,) = self.engine.execute(f"select count(*) from {added}").fetchone()
        if not count:
            return
        written, flows = {}, {"appended": batch.appended + count, "unchanged": batch.unchanged - count}
        unchanged = literal(self._address(batch, "sightings"))
        queries = {"sightings": f"select * from {unchanged} where {number} not in (select {number} from {added})"}
        columns = batch.columns
        if not batch.with_sightings:
            queries["rows"] = f"select * from {added}"
            if "rows" in batch.files:
                rows = literal(self._address(batch, "rows"))
                queries["rows"] = f"select * from {rows} union all by name select * from {added}"
            columns = tuple(dict.fromkeys((*(columns if "rows" in batch.files else ()), *self._columns(restored))))
        for role, query in queries.items():
            if role == "rows" or flows["unchanged"]:
                path = restored.with_name(f"{role}.parquet")
                self.engine.execute(f"copy ({query} order by {number}) to {literal(str(path))} {PARQUET}")
                key = file_key(batch.table, batch.batch_id, role)
                written[role], self.files[key] = key, path
        self.replaced += [key for role, key in batch.files.items() if role in queries]
        files = {role: key for role, key in batch.files.items() if role not in queries} | written
        sums = {role: value for role, value in batch.sha256.items() if role in files and role not in written}
        sums |= {role: checksum(self.files[key]) for role, key in written.items()}
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
