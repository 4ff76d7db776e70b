"""Forgetting a person: erased from the history in S3, from which every warehouse is made, and kept out from then on.

Files that hold the person are written anew beside the old ones; one commit names them, together with a salted hash of
the person's id; then the old ones are deleted. An erasure that is killed has therefore either happened, and the next
ingest deletes what is left of it, or not. A warehouse that was loaded before is made anew when it is next loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook import commit_log, forgotten, rows, storage, traces, uncommitted, warehouse
from duckbook.batches import Batch, Chronicle, Commit, Forgetting, file_key
from duckbook.endpoints import Endpoints
from duckbook.errors import IngestError
from duckbook.rows import PARQUET, listed, literal
from duckbook.settings import Settings
from duckbook.tables import SourceTable

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Erasure:
    """What was erased from the history.

    Attributes
    ----------
    number
        Number of the commit; None when these people had been forgotten before.
    ids
        Their ids, without what a source's type adds to them.
    rows
        Source table → rows, sightings and lines that held them.
    sources
        Where these had been read: the landing zone is its sources' own, and still holds them there.
    values
        E-mail and postal addresses of the rows, by which what runs have left can be searched; never written down.
    """

    number: int | None
    ids: tuple[str, ...] = field(repr=False)
    rows: dict[str, int]
    sources: tuple[str, ...]
    values: tuple[str, ...] = field(repr=False)


def forget(settings: Settings, endpoints: Endpoints, customer_ids: Sequence[str]) -> Erasure:
    """Erase people from the history, and keep them out of it.

    Raises
    ------
    IngestError
        There is no history, or none of it names one of these people.
    ServerError
        The object store does not answer; nothing is erased then.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    with (
        uncommitted.alone(settings, client, "an erasure") as lease,
        uncommitted.workspace(settings) as folder,
        warehouse.engine(settings) as engine,
    ):
        chronicle = commit_log.read(client, bucket)
        uncommitted.sweep(settings, client, chronicle)
        if not chronicle.commits:
            raise IngestError("There is no history yet, so there is nobody in it to forget.")
        warehouse.use_s3(engine, endpoints.s3)
        ids = normalised(engine, customer_ids)
        salt = chronicle.salt or forgotten.new_salt()
        people = {forgotten.hashed(salt, customer_id): customer_id for customer_id in ids}
        forgotten.name_people(engine, ids)
        rewriting = _Rewriting(engine, bucket, chronicle, folder)
        rewriting.do()
        unknown = sorted(set(people) - chronicle.forgotten)
        if not rewriting.found and unknown:
            named = ", ".join(people[person] for person in unknown)
            raise IngestError(f"The history knows nobody whose customer_id is {named}: see how the source writes it.")
        if not rewriting.found:
            return Erasure(None, tuple(ids), {}, (), ())
        commit = Commit(
            number=chronicle.next_number,
            previous=chronicle.digest,
            as_of=chronicle.as_of,
            origins=(),
            fingerprints={},
            batches=(),
            forgotten=Forgetting(salt, tuple(unknown), rewriting.amended),
        )
        # First, because the commit takes away what the archive can be searched by.
        traces.scrub_archive(settings.runs, rewriting.values)
        uncommitted.upload(settings, client, rewriting.files, rewriting.replaced)
        lease.renew()
        commit_log.put(client, bucket, commit)
        uncommitted.sweep(settings, client, Chronicle((*chronicle.commits, commit)))
    return Erasure(commit.number, tuple(ids), rewriting.found, rewriting.sources, rewriting.values)


def normalised(engine: duckdb.DuckDBPyConnection, customer_ids: Sequence[str]) -> list[str]:
    """Ids without what a source's type adds to them, as the history tells people by."""
    query = f"select distinct {rows.normalised('id')} from (select unnest(?::varchar[]) as id) order by 1"
    found = [value for (value,) in engine.execute(query, [list(customer_ids)]).fetchall() if value]
    if not found:
        raise IngestError("Name the person by the customer_id that the source gives, such as `duckbook forget 1234`.")
    return found


class _Rewriting:
    """The files of the history that hold `people`, written anew into a folder."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, bucket: str, chronicle: Chronicle, folder: Path) -> None:
        self.engine, self.bucket, self.chronicle, self.folder = engine, bucket, chronicle, folder
        self.found: dict[str, int] = {}
        self.files: dict[str, Path] = {}
        self.replaced: list[str] = []
        self.amended: dict[str, dict[str, Any]] = {}
        self.sources: tuple[str, ...] = ()
        self.values: tuple[str, ...] = ()
        self._batches: dict[str, Batch] = {}

    def do(self) -> None:
        """Go through all tables that name people."""
        for name, table in forgotten.tables().items():
            self._batches |= {b.batch_id: b for b in self.chronicle.batches if b.table == name}
            self._rows(name, table)
            self._sightings(name, table)
            self._lines(name)
        self.sources = tuple(sorted({self._batches[batch_id].source for batch_id in self.amended}))

    def _of(self, name: str, role: str) -> dict[str, Batch]:
        """Address → batch, of the files of a role."""
        mine = (batch for batch in self._batches.values() if batch.table == name and role in batch.files)
        return {f"s3://{self.bucket}/{batch.files[role]}": batch for batch in mine}

    def _rows(self, name: str, table: SourceTable) -> None:
        files = self._of(name, "rows")
        held = forgotten.rows_of_people(self.engine, list(files))
        self.engine.execute("create or replace temp table rehashed (key varchar, was ubigint, hash ubigint)")
        for address, count in held.items():
            batch, path = files[address], self._path(files[address], "rows")
            self._remember_values(address, batch)
            columns = forgotten.rewrite(self.engine, table, address, batch.columns, path)
            if not forgotten.is_of_people(table):
                self._remember_hashes(table, batch, address, path)
            count -= self._sighted(batch, address)
            gone = count if forgotten.is_of_people(table) else 0
            self._amend(batch, "rows", path, count, gone, "appended", {"columns": columns})

    def _sighted(self, batch: Batch, address: str) -> int:
        """How many rows of people in a file of rows are those that the batch's sightings name."""
        if not batch.with_sightings:
            return 0
        number = rows.row_number(batch.columns)
        seen = literal(f"s3://{self.bucket}/{batch.files['sightings']}")
        (count,) = self.engine.execute(
            f"select count(*) from read_parquet({literal(address)}, file_row_number = true) "
            f"where {forgotten.is_of_a_person('customer_id')} and {number} in (select _row_number from {seen})"
        ).fetchone()
        return count

    def _remember_values(self, address: str, batch: Batch) -> None:
        """The addresses of people, which nobody else has."""
        telling = {"email", "shipping_address", "billing_address"} & set(batch.columns)
        for column in sorted(telling):
            query = f"select distinct {column} from {literal(address)} where {forgotten.is_of_a_person('customer_id')}"
            found = [value for (value,) in self.engine.execute(query).fetchall() if value and len(value) > 5]
            self.values = tuple(dict.fromkeys((*self.values, *found)))

    def _remember_hashes(self, table: SourceTable, batch: Batch, address: str, path: Path) -> None:
        """What the hash of a row was and is, for the sightings of it."""
        key = rows.any_key(table, batch.columns, rows.whole_numbers(batch.types))
        number = rows.row_number(batch.columns)
        numbered = f"select {key} as key, _row_hash as hash, {number} as number from read_parquet"
        self.engine.execute(
            f"insert into rehashed select was.key, was.hash, now.hash "
            f"from ({numbered}({literal(address)}, file_row_number = true)) as was "
            f"inner join ({numbered}({literal(str(path))}, file_row_number = true)) as now using (number) "
            "where was.hash != now.hash"
        )

    def _sightings(self, name: str, table: SourceTable) -> None:
        files = self._of(name, "sightings")
        if not files:
            return
        whole = forgotten.is_of_people(table)
        held = forgotten.is_of_a_person("_key") if whole else "(_key, _row_hash) in (select key, was from rehashed)"
        counted = self.engine.execute(
            f"select filename, count(*) from read_parquet({listed(files)}, filename = true, hive_partitioning = false) "
            f"where {held} group by filename order by filename"
        ).fetchall()
        for address, count in counted:
            batch, path = files[address], self._path(files[address], "sightings")
            query = f"select * from {literal(address)} where not {held}"
            if not whole:
                latest = "select key, was, any_value(hash) as hash from rehashed group by key, was"
                query = (
                    "select seen._key, coalesce(now.hash, seen._row_hash) as _row_hash, seen._row_number "
                    f"from {literal(address)} as seen "
                    f"left join ({latest}) as now on seen._key = now.key and seen._row_hash = now.was"
                )
            self.engine.execute(f"copy ({query} order by _row_number) to {literal(str(path))} {PARQUET}")
            self._amend(batch, "sightings", path, count, count if whole else 0, "unchanged")

    def _lines(self, name: str) -> None:
        files = self._of(name, "unreadable")
        for address, count in forgotten.lines_of_people(self.engine, list(files)).items():
            path = forgotten.rewrite_lines(self.engine, address, self._path(files[address], "unreadable"))
            self._amend(files[address], "unreadable", path, count, 0, "unreadable")

    def _path(self, batch: Batch, role: str) -> Path:
        folder = self.folder / batch.batch_id / role
        folder.mkdir(parents=True)
        return folder / f"{role}.parquet"

    def _amend(
        self, before: Batch, role: str, path: Path, count: int, gone: int, flow: str, further: dict | None = None
    ) -> None:
        """Note what is different of a batch: `gone` of the `count` rows that held people are there no more."""
        batch_id = before.batch_id
        batch = self._batches[batch_id]  # as it is after what was amended so far
        left = getattr(batch, flow) - gone
        files = {key: value for key, value in batch.files.items() if key != role}
        sums = {key: value for key, value in batch.sha256.items() if key != role}
        if left:
            key = file_key(batch.table, batch_id, role)
            files[role], self.files[key] = key, path
            with path.open("rb") as content:
                sums[role] = file_digest(content, "sha256").hexdigest()
        self.replaced.append(batch.files[role])
        self.found[batch.table] = self.found.get(batch.table, 0) + count
        values = {flow: left, "landed": batch.landed - gone, "files": files, "sha256": sums} | (further or {})
        self._batches[batch_id] = replace(batch, **values)
        self.amended[batch_id] = self.amended.get(batch_id, {}) | values
