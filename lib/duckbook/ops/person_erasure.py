"""Erase people from the history in S3, from which every warehouse is built, and keep them out of it.

Files that mention the person are rewritten under new keys. One commit names the new files and a salted hash of the
person's id; then the old files are deleted. A killed erasure has therefore either not happened, or the next ingest
deletes the old files. A warehouse that was loaded before is rebuilt by its next load.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from duckbook.backends import storage, warehouse
from duckbook.errors import IngestError
from duckbook.files import checksum
from duckbook.ingest import commit_log, erased_people, mentions, rows, transaction
from duckbook.ingest.batches import Batch, Commit, ErasedPeople, History, file_key
from duckbook.ingest.mentions import Cell, People
from duckbook.ops import remaining_copies
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import SourceTable, source_tables
from duckbook.sql import PARQUET, literal

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Doubt:
    """A record of the history that may mention the person and is kept until the user decides.

    Attributes
    ----------
    record
        Its name in `make forget RECORDS=`: ``BATCH:NUMBER``, or ``BATCH:NUMBER:COLUMN`` for a value in another
        person's row.
    why
        What matched.
    customer
        The customer that the record names, if any.
    text
        The matching text.
    can_be_erased
        False for a part of the record's key.
    """

    record: str
    source: str
    why: str
    customer: str | None
    text: str = field(repr=False)
    can_be_erased: bool = True


@dataclass(frozen=True)
class Erasure:
    """What was erased from the history.

    Attributes
    ----------
    number
        Number of the commit; None if these people had been erased before.
    rows
        Source table → number of rows, unchanged rows and unreadable lines that mentioned them.
    sources
        Sources of these rows. The landing zone belongs to its owners and still holds them.
    people
        Their identifying values, by which everything else can be searched. Never written to disk.
    doubts
        Records that may mention them.
    """

    number: int | None
    rows: dict[str, int]
    sources: tuple[str, ...]
    people: People = field(repr=False)
    doubts: tuple[Doubt, ...] = ()


def erase(
    settings: Settings,
    endpoints: Endpoints,
    customer_ids: Sequence[str],
    records: Sequence[str] = (),
    on_doubts: Callable[[list[Doubt]], object] = lambda _: None,
) -> Erasure:
    """Erase people from the history, and keep them out of it.

    Parameters
    ----------
    records
        Further records to erase, as `Doubt.record` names them.
    on_doubts
        Called with the doubtful records before anything is erased: afterwards they can no longer be found.

    Raises
    ------
    IngestError
        There is no history, or it has no such person or record.
    ServerError
        The object storage does not answer. Nothing is erased.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    with (
        transaction.exclusive(settings, client, "an erasure") as lease,
        transaction.workspace(settings) as folder,
        warehouse.engine(settings) as engine,
    ):
        chronicle = commit_log.read(client, bucket)
        transaction.sweep(settings, client, chronicle)
        if not chronicle.commits:
            raise IngestError("There is no history yet, so there is nobody to erase from it.")
        warehouse.use_s3(engine, endpoints.s3)
        ids = _normalised(engine, customer_ids) if customer_ids or not records else []
        salt = chronicle.salt or erased_people.new_salt()
        hashes = {erased_people.hash_id(salt, customer_id): customer_id for customer_id in ids}
        erased_people.create_people_table(engine, ids)
        rewrite = _Rewrite(engine, bucket, chronicle, folder, ids, records)
        rewrite.run()
        people, new = rewrite.people, sorted(set(hashes) - chronicle.erased)
        if not rewrite.counts and new:
            unknown = ", ".join(hashes[person] for person in new)
            raise IngestError(f"The history has no customer_id {unknown}: check how the source writes it.")
        if not rewrite.counts:
            return Erasure(None, {}, (), people, tuple(rewrite.doubts))
        mails = {erased_people.hash_email(salt, text) for text in people.texts if "@" in text}
        commit = Commit(
            number=chronicle.next_number,
            previous=chronicle.digest,
            as_of=chronicle.commits[-1].as_of,
            origins=(),
            fingerprints={},
            batches=(),
            forgotten=ErasedPeople(salt, tuple(new), rewrite.amended, tuple(sorted(mails))),
        )
        # Before the commit: afterwards the history no longer has the values to search by.
        on_doubts(rewrite.doubts)
        remaining_copies.scrub_archive(settings.runs, people)
        remaining_copies.scrub_logs(settings, people)
        transaction.upload(settings, client, rewrite.files, rewrite.replaced)
        lease.renew()
        commit_log.put(client, bucket, commit)
        transaction.sweep(settings, client, History((*chronicle.commits, commit)))
    return Erasure(commit.number, rewrite.counts, rewrite.sources, people, tuple(rewrite.doubts))


def erase_command(doubts: Sequence[Doubt]) -> str:
    """Return the command that erases these records."""
    return f"make forget RECORDS={shlex.quote(' '.join(doubt.record for doubt in doubts if doubt.can_be_erased))}"


def _normalised(engine: duckdb.DuckDBPyConnection, customer_ids: Sequence[str]) -> list[str]:
    """Return ids as the keys of the history write them."""
    query = f"select distinct {rows.normalised('id')} from (select unnest(?::varchar[]) as id) order by 1"
    ids = [value for (value,) in engine.execute(query, [list(customer_ids)]).fetchall() if value]
    if not ids:
        raise IngestError("Name the person by the customer_id of the source, such as `duckbook forget 1234`.")
    return ids


class _Rewrite:
    """Writes the files of the history that mention people into a folder, without them."""

    def __init__(
        self,
        engine: duckdb.DuckDBPyConnection,
        bucket: str,
        chronicle: History,
        folder: Path,
        ids: Collection[str],
        records: Sequence[str],
    ) -> None:
        self.engine, self.bucket, self.chronicle, self.folder = engine, bucket, chronicle, folder
        self.ids, self.records = ids, records
        self.counts: dict[str, int] = {}
        self.files: dict[str, Path] = {}
        self.replaced: list[str] = []
        self.amended: dict[str, dict[str, Any]] = {}
        self.sources: tuple[str, ...] = ()
        self.people = People(frozenset())
        self.doubts: list[Doubt] = []
        self._erased: set[tuple[str, int]] = set()
        self._batches = {batch.batch_id: batch for batch in chronicle.batches}

    def run(self) -> None:
        """Rewrite the files of all tables."""
        chosen = self._chosen()
        files = {name: list(self._files(name, "rows")) for name in source_tables()}
        is_theirs = erased_people.names_a_person(erased_people.PERSON)
        if self.ids:
            self.people = mentions.find_details(self.engine, self.ids, files, is_theirs)
        for name, table in source_tables().items():
            self.engine.execute("create or replace temp table rehashed (key varchar, was ubigint, hash ubigint)")
            self.engine.execute("create or replace temp table removed (key varchar, hash ubigint)")
            certain, values = self._search(name, is_theirs) if self.ids else ({}, {})
            self._rows(name, table, files[name], certain, values, chosen)
            self._unchanged(name, table)
            self._lines(name, certain, chosen)
        if missing := set(chosen) - self._erased:
            unknown = ", ".join(f"{batch_id}:{number}" for batch_id, number in sorted(missing))
            raise IngestError(f"The history has no record {unknown}: name it as `make forget` lists it.")
        self.sources = tuple(sorted({self._batches[batch_id].source for batch_id in self.amended}))

    def _files(self, name: str, role: str) -> dict[str, Batch]:
        """Return address → batch for the files of a role."""
        batches = (batch for batch in self._batches.values() if batch.table == name and role in batch.files)
        return {f"s3://{self.bucket}/{batch.files[role]}": batch for batch in batches}

    def _chosen(self) -> dict[tuple[str, int], set[str]]:
        """Parse `records`: batch and row number → columns to erase, or none for the whole record."""
        chosen: dict[tuple[str, int], set[str]] = {}
        for record in self.records:
            batch_id, _, rest = record.partition(":")
            number, _, column = rest.partition(":")
            batch, column = self._batches.get(batch_id), unquote(column)
            if batch is None or not number.isdigit() or (column and column not in batch.columns):
                raise IngestError(f"The history has no record {record}: name it as `make forget` lists it.")
            if column in source_tables()[batch.table].key:
                raise IngestError(
                    f"{record} is a part of the record's key and cannot be erased: have it changed at its source."
                )
            chosen.setdefault((batch_id, int(number)), set()).update({column} - {""})
        return chosen

    def _search(self, name: str, is_theirs: str) -> tuple[dict[str, set[int]], dict[str, dict[str, set[int]]]]:
        """Find records that mention people other than by customer_id; collect the doubtful ones in `doubts`.

        Returns
        -------
        tuple
            File → numbers of records to erase; and file → column → numbers of rows whose value is to be erased.
        """
        table = source_tables()[name]
        records: dict[str, set[int]] = {}
        values: dict[str, dict[str, set[int]]] = {}
        doubtful: dict[str, Cell] = {}
        rows_files, line_files = self._files(name, "rows"), self._files(name, "unreadable")
        batches = rows_files | line_files
        for cell in mentions.in_table(self.engine, self.people, table, list(rows_files), list(line_files), is_theirs):
            in_key = cell.column in table.key
            if cell.of_them or (cell.mention.certain and cell.column is None):
                records.setdefault(cell.file, set()).add(cell.number)
                if cell.column and not in_key:
                    values.setdefault(cell.file, {}).setdefault(cell.column, set()).add(cell.number)
            if not cell.mention.certain or (in_key and not erased_people.is_person_table(table)):
                is_whole = cell.column is None or (cell.customer is None and erased_people.PERSON in table.column_names)
                column = "" if is_whole and not in_key else f":{quote(cell.column or '', safe='')}"
                doubtful.setdefault(f"{batches[cell.file].batch_id}:{cell.number}{column}", cell)
        for record, cell in doubtful.items():
            in_key = cell.column in table.key
            if in_key or cell.number not in records.get(cell.file, ()):
                why = f"{cell.mention.why}, in a key: have it changed at its source" if in_key else cell.mention.why
                self.doubts.append(Doubt(record, batches[cell.file].source, why, cell.customer, cell.text, not in_key))
        return records, values

    def _rows(
        self,
        name: str,
        table: SourceTable,
        addresses: list[str],
        certain: Mapping[str, set[int]],
        values: Mapping[str, Mapping[str, set[int]]],
        chosen: Mapping[tuple[str, int], set[str]],
    ) -> None:
        files = self._files(name, "rows")
        by_id = erased_people.rows_of_people(self.engine, addresses)
        for address in addresses:
            batch = files[address]
            erased_rows = {*by_id.get(address, ()), *certain.get(address, ())}
            erased_values = {column: set(numbers) for column, numbers in values.get(address, {}).items()}
            chosen_numbers = [number for batch_id, number in chosen if batch_id == batch.batch_id]
            for number in self._numbers(address, batch, chosen_numbers):
                self._erased.add((batch.batch_id, number))
                for column in chosen[batch.batch_id, number]:
                    erased_values.setdefault(column, set()).add(number)
                if not chosen[batch.batch_id, number]:
                    erased_rows.add(number)
            if not erased_rows and not erased_values:
                continue
            path, whole = self._path(batch, "rows"), erased_people.is_person_table(table)
            columns = erased_people.rewrite(
                self.engine, table, address, batch.columns, path, erased_rows, erased_values
            )
            self._record_hashes(table, batch, address, path)
            unchanged = self._unchanged_numbers(batch)
            changed = erased_rows.union(*erased_values.values()) - unchanged
            removed = len(erased_rows - unchanged) if whole else 0
            self._amend(batch, "rows", path, len(changed), removed, "appended", {"columns": columns})

    def _numbers(self, address: str, batch: Batch, numbers: list[int]) -> list[int]:
        """Return those of some row numbers that a file has."""
        if not numbers:
            return []
        number = rows.row_number(batch.columns)
        query = (
            f"select {number} from read_parquet({literal(address)}, file_row_number = true) "
            f"where {number} in (select unnest(?::bigint[])) order by 1"
        )
        return [value for (value,) in self.engine.execute(query, [numbers]).fetchall()]

    def _unchanged_numbers(self, batch: Batch) -> set[int]:
        """Return the numbers of unchanged rows that are also in the batch's file of rows."""
        if not batch.with_sightings:
            return set()
        file = literal(f"s3://{self.bucket}/{batch.files['sightings']}")
        return {number for (number,) in self.engine.execute(f"select _row_number from {file}").fetchall()}

    def _record_hashes(self, table: SourceTable, batch: Batch, address: str, path: Path) -> None:
        """Fill `rehashed` and `removed`, by which the files of unchanged rows are rewritten."""
        key = rows.any_key(table, batch.columns, rows.whole_numbers(batch.types))
        number = rows.row_number(batch.columns)
        now = "_row_number" if erased_people.is_person_table(table) else number
        read = f"select {key} as key, _row_hash as hash, {{}} as number from read_parquet({{}}, file_row_number = true)"
        before, after = read.format(number, literal(address)), read.format(now, literal(str(path)))
        self.engine.execute(
            f"insert into rehashed select was.key, was.hash, now.hash from ({before}) as was "
            f"inner join ({after}) as now using (number) where was.hash != now.hash"
        )
        self.engine.execute(
            f"insert into removed select was.key, was.hash from ({before}) as was anti join ({after}) as now "
            "using (number)"
        )

    def _unchanged(self, name: str, table: SourceTable) -> None:
        files = self._files(name, "sightings")
        if not files:
            return
        removed = "(_key, _row_hash) in (select key, hash from removed)"
        if erased_people.is_person_table(table):
            removed = f"({erased_people.names_a_person('_key')} or {removed})"
        changed = "(_key, _row_hash) in (select key, was from rehashed)"
        counts = self.engine.execute(
            f"select filename, count(*), count(*) filter ({removed}) from {mentions.scan(list(files))} "
            f"where {removed} or {changed} group by filename order by filename"
        ).fetchall()
        latest = "select key, was, any_value(hash) as hash from rehashed group by key, was"
        for address, count, removed_count in counts:
            batch, path = files[address], self._path(files[address], "sightings")
            query = (
                "select before._key, coalesce(now.hash, before._row_hash) as _row_hash, before._row_number "
                f"from (from {literal(address)} where not {removed}) as before "
                f"left join ({latest}) as now on before._key = now.key and before._row_hash = now.was"
            )
            self.engine.execute(f"copy ({query} order by _row_number) to {literal(str(path))} {PARQUET}")
            self._amend(batch, "sightings", path, count, removed_count, "unchanged")

    def _lines(self, name: str, certain: Mapping[str, set[int]], chosen: Mapping) -> None:
        for address, batch in self._files(name, "unreadable").items():
            numbers = set(certain.get(address, ()))
            chosen_numbers = [number for batch_id, number in chosen if batch_id == batch.batch_id]
            if chosen_numbers:
                query = f"select row_number from {literal(address)} where row_number in (select unnest(?::bigint[]))"
                numbers |= {number for (number,) in self.engine.execute(query, [chosen_numbers]).fetchall()}
                self._erased |= {(batch.batch_id, number) for number in numbers}
            if numbers:
                path = self._path(batch, "unreadable")
                path = erased_people.rewrite_lines(self.engine, address, path, numbers)
                self._amend(batch, "unreadable", path, len(numbers), 0, "unreadable")

    def _path(self, batch: Batch, role: str) -> Path:
        folder = self.folder / batch.batch_id / role
        folder.mkdir(parents=True)
        return folder / f"{role}.parquet"

    def _amend(
        self, before: Batch, role: str, path: Path, count: int, removed: int, flow: str, further: dict | None = None
    ) -> None:
        """Record how a batch changes: of `count` rows that mentioned people, `removed` were removed."""
        batch_id = before.batch_id
        batch = self._batches[batch_id]  # With earlier amendments of this erasure.
        left = getattr(batch, flow) - removed
        files = {key: value for key, value in batch.files.items() if key != role}
        sums = {key: value for key, value in batch.sha256.items() if key != role}
        if left:
            key = file_key(batch.table, batch_id, role)
            files[role], self.files[key] = key, path
            sums[role] = checksum(path)
        self.replaced.append(batch.files[role])
        self.counts[batch.table] = self.counts.get(batch.table, 0) + count
        values = {flow: left, "landed": batch.landed - removed, "files": files, "sha256": sums} | (further or {})
        self._batches[batch_id] = replace(batch, **values)
        self.amended[batch_id] = self.amended.get(batch_id, {}) | values
