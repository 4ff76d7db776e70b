"""Forgetting a person: erased from the history in S3, from which every warehouse is made, and kept out from then on.

Files that hold the person are written anew beside the old ones; one commit names them, together with a salted hash of
the person's id; then the old ones are deleted. An erasure that is killed has therefore either happened, and the next
ingest deletes what is left of it, or not. A warehouse that was loaded before is made anew when it is next loaded.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from duckbook.backends import storage, warehouse
from duckbook.errors import IngestError
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
    """A record of the history that may be of the person: left as it is until somebody decides.

    Attributes
    ----------
    record
        How it is named to have it erased: ``BATCH:NUMBER``, and ``:COLUMN`` of a value in somebody else's row.
    why
        What is the same.
    customer
        The customer that it names, if any.
    text
        What stands there.
    can_be_erased
        False of a part of the key, by which the record is known.
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
        Number of the commit; None when these people had been forgotten before.
    rows
        Source table → rows, sightings and lines that held them.
    sources
        Where these had been read: the landing zone is its sources' own, and still holds them there.
    people
        What tells of them, by which everything else can be searched; never written down.
    doubts
        Records that may be theirs.
    """

    number: int | None
    rows: dict[str, int]
    sources: tuple[str, ...]
    people: People = field(repr=False)
    doubts: tuple[Doubt, ...] = ()


def forget(
    settings: Settings,
    endpoints: Endpoints,
    customer_ids: Sequence[str],
    records: Sequence[str] = (),
    tell: Callable[[list[Doubt]], object] = lambda _: None,
) -> Erasure:
    """Erase people from the history, and keep them out of it.

    Parameters
    ----------
    records
        Further records to erase, as `Doubt.record` names them.
    tell
        Called with what is doubtful before anything is erased: afterwards nothing is known that it could be found by.

    Raises
    ------
    IngestError
        There is no history, or none of it names one of these people, or has such a record.
    ServerError
        The object store does not answer; nothing is erased then.
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
            raise IngestError("There is no history yet, so there is nobody in it to forget.")
        warehouse.use_s3(engine, endpoints.s3)
        ids = normalised(engine, customer_ids) if customer_ids or not records else []
        salt = chronicle.salt or erased_people.new_salt()
        hashes = {erased_people.hash_id(salt, customer_id): customer_id for customer_id in ids}
        erased_people.create_people_table(engine, ids)
        rewriting = _Rewriting(engine, bucket, chronicle, folder, ids, records)
        rewriting.do()
        people, unknown = rewriting.people, sorted(set(hashes) - chronicle.erased)
        if not rewriting.found and unknown:
            named = ", ".join(hashes[person] for person in unknown)
            raise IngestError(f"The history knows nobody whose customer_id is {named}: see how the source writes it.")
        if not rewriting.found:
            return Erasure(None, {}, (), people, tuple(rewriting.doubts))
        mails = {erased_people.hash_email(salt, text) for text in people.texts if "@" in text}
        commit = Commit(
            number=chronicle.next_number,
            previous=chronicle.digest,
            as_of=chronicle.as_of,
            origins=(),
            fingerprints={},
            batches=(),
            forgotten=ErasedPeople(salt, tuple(unknown), rewriting.amended, tuple(sorted(mails))),
        )
        # First, because the commit takes away what all else can be searched by.
        tell(rewriting.doubts)
        remaining_copies.scrub_archive(settings.runs, people)
        remaining_copies.scrub_logs(settings, people)
        transaction.upload(settings, client, rewriting.files, rewriting.replaced)
        lease.renew()
        commit_log.put(client, bucket, commit)
        transaction.sweep(settings, client, History((*chronicle.commits, commit)))
    return Erasure(commit.number, rewriting.found, rewriting.sources, people, tuple(rewriting.doubts))


def command(doubts: Sequence[Doubt]) -> str:
    """What erases these records."""
    return f"make forget RECORDS={shlex.quote(' '.join(doubt.record for doubt in doubts if doubt.can_be_erased))}"


def normalised(engine: duckdb.DuckDBPyConnection, customer_ids: Sequence[str]) -> list[str]:
    """Ids without what a source's type adds to them, as the history tells people by."""
    query = f"select distinct {rows.normalised('id')} from (select unnest(?::varchar[]) as id) order by 1"
    found = [value for (value,) in engine.execute(query, [list(customer_ids)]).fetchall() if value]
    if not found:
        raise IngestError("Name the person by the customer_id that the source gives, such as `duckbook forget 1234`.")
    return found


class _Rewriting:
    """The files of the history that hold people, written anew into a folder."""

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
        self.found: dict[str, int] = {}
        self.files: dict[str, Path] = {}
        self.replaced: list[str] = []
        self.amended: dict[str, dict[str, Any]] = {}
        self.sources: tuple[str, ...] = ()
        self.people = People(frozenset())
        self.doubts: list[Doubt] = []
        self._erased: set[tuple[str, int]] = set()
        self._batches = {batch.batch_id: batch for batch in chronicle.batches}

    def do(self) -> None:
        """Go through all tables."""
        chosen = self._chosen()
        files = {name: list(self._of(name, "rows")) for name in source_tables()}
        is_theirs = erased_people.names_a_person(erased_people.PERSON)
        if self.ids:
            self.people = mentions.find_details(self.engine, self.ids, files, is_theirs)
        for name, table in source_tables().items():
            self.engine.execute("create or replace temp table rehashed (key varchar, was ubigint, hash ubigint)")
            self.engine.execute("create or replace temp table removed (key varchar, hash ubigint)")
            certain, values = self._look(name, is_theirs) if self.ids else ({}, {})
            self._rows(name, table, files[name], certain, values, chosen)
            self._sightings(name, table)
            self._lines(name, certain, chosen)
        if missing := set(chosen) - self._erased:
            named = ", ".join(f"{batch_id}:{number}" for batch_id, number in sorted(missing))
            raise IngestError(f"The history has no record {named}: name it as `make forget` lists it.")
        self.sources = tuple(sorted({self._batches[batch_id].source for batch_id in self.amended}))

    def _of(self, name: str, role: str) -> dict[str, Batch]:
        """Address → batch, of the files of a role."""
        mine = (batch for batch in self._batches.values() if batch.table == name and role in batch.files)
        return {f"s3://{self.bucket}/{batch.files[role]}": batch for batch in mine}

    def _chosen(self) -> dict[tuple[str, int], set[str]]:
        """Batch and number → columns that somebody has decided upon; none: the whole record."""
        chosen: dict[tuple[str, int], set[str]] = {}
        for record in self.records:
            batch_id, _, rest = record.partition(":")
            number, _, column = rest.partition(":")
            batch, column = self._batches.get(batch_id), unquote(column)
            if batch is None or not number.isdigit() or (column and column not in batch.columns):
                raise IngestError(f"The history has no record {record}: name it as `make forget` lists it.")
            if column in source_tables()[batch.table].key:
                raise IngestError(
                    f"{record} is a part of the key by which the record is known: have it changed at its source."
                )
            chosen.setdefault((batch_id, int(number)), set()).update({column} - {""})
        return chosen

    def _look(self, name: str, is_theirs: str) -> tuple[dict[str, set[int]], dict[str, dict[str, set[int]]]]:
        """Find what mentions people otherwise than by customer_id; what is doubtful is kept apart.

        Returns
        -------
        tuple
            File → the numbers of records that are theirs; and file → column → numbers of values to erase.
        """
        table, records, values = source_tables()[name], {}, {}
        doubtful: dict[str, Cell] = {}
        held = {role: self._of(name, role) for role in ("rows", "unreadable")}
        batches = held["rows"] | held["unreadable"]
        for cell in mentions.in_table(
            self.engine, self.people, table, list(held["rows"]), list(held["unreadable"]), is_theirs
        ):
            of_key = cell.column in table.key
            if cell.of_them or (cell.mention.certain and cell.column is None):
                records.setdefault(cell.file, set()).add(cell.number)
                if cell.column and not of_key:
                    values.setdefault(cell.file, {}).setdefault(cell.column, set()).add(cell.number)
            if not cell.mention.certain or (of_key and not erased_people.is_person_table(table)):
                is_whole = cell.column is None or (cell.customer is None and erased_people.PERSON in table.column_names)
                column = "" if is_whole and not of_key else f":{quote(cell.column, safe='')}"
                doubtful.setdefault(f"{batches[cell.file].batch_id}:{cell.number}{column}", cell)
        for record, cell in doubtful.items():
            of_key = cell.column in table.key
            if of_key or cell.number not in records.get(cell.file, ()):
                why = f"{cell.mention.why}, in a key: have it changed at its source" if of_key else cell.mention.why
                self.doubts.append(Doubt(record, batches[cell.file].source, why, cell.customer, cell.text, not of_key))
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
        files = self._of(name, "rows")
        held = erased_people.rows_of_people(self.engine, addresses)
        for address in addresses:
            batch = files[address]
            gone = {*held.get(address, ()), *certain.get(address, ())}
            lost = {column: set(numbers) for column, numbers in values.get(address, {}).items()}
            there = self._numbers(address, batch, [number for of, number in chosen if of == batch.batch_id])
            for number in there:
                self._erased.add((batch.batch_id, number))
                for column in chosen[batch.batch_id, number]:
                    lost.setdefault(column, set()).add(number)
                if not chosen[batch.batch_id, number]:
                    gone.add(number)
            if not gone and not lost:
                continue
            path, whole = self._path(batch, "rows"), erased_people.is_person_table(table)
            columns = erased_people.rewrite(self.engine, table, address, batch.columns, path, gone, lost)
            self._remember_hashes(table, batch, address, path)
            sighted = self._sighted(batch)
            changed = gone.union(*lost.values()) - sighted
            self._amend(
                batch, "rows", path, len(changed), len(gone - sighted) if whole else 0, "appended", {"columns": columns}
            )

    def _numbers(self, address: str, batch: Batch, numbers: list[int]) -> list[int]:
        """Which of some numbers are of rows of a file."""
        if not numbers:
            return []
        number = rows.row_number(batch.columns)
        query = (
            f"select {number} from read_parquet({literal(address)}, file_row_number = true) "
            f"where {number} in (select unnest(?::bigint[])) order by 1"
        )
        return [found for (found,) in self.engine.execute(query, [numbers]).fetchall()]

    def _sighted(self, batch: Batch) -> set[int]:
        """The numbers of those rows in a batch's file of rows that its sightings name."""
        if not batch.with_sightings:
            return set()
        seen = literal(f"s3://{self.bucket}/{batch.files['sightings']}")
        return {number for (number,) in self.engine.execute(f"select _row_number from {seen}").fetchall()}

    def _remember_hashes(self, table: SourceTable, batch: Batch, address: str, path: Path) -> None:
        """What the hash of a row was and is, and which rows are gone, for the sightings of them."""
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

    def _sightings(self, name: str, table: SourceTable) -> None:
        files = self._of(name, "sightings")
        if not files:
            return
        gone = "(_key, _row_hash) in (select key, hash from removed)"
        if erased_people.is_person_table(table):
            gone = f"({erased_people.names_a_person('_key')} or {gone})"
        changed = "(_key, _row_hash) in (select key, was from rehashed)"
        counted = self.engine.execute(
            f"select filename, count(*), count(*) filter ({gone}) from {mentions.scan(list(files))} "
            f"where {gone} or {changed} group by filename order by filename"
        ).fetchall()
        latest = "select key, was, any_value(hash) as hash from rehashed group by key, was"
        for address, count, lost in counted:
            batch, path = files[address], self._path(files[address], "sightings")
            query = (
                "select seen._key, coalesce(now.hash, seen._row_hash) as _row_hash, seen._row_number "
                f"from (from {literal(address)} where not {gone}) as seen "
                f"left join ({latest}) as now on seen._key = now.key and seen._row_hash = now.was"
            )
            self.engine.execute(f"copy ({query} order by _row_number) to {literal(str(path))} {PARQUET}")
            self._amend(batch, "sightings", path, count, lost, "unchanged")

    def _lines(self, name: str, certain: Mapping[str, set[int]], chosen: Mapping) -> None:
        for address, batch in self._of(name, "unreadable").items():
            numbers = set(certain.get(address, ()))
            asked = [number for of, number in chosen if of == batch.batch_id]
            if asked:
                query = f"select row_number from {literal(address)} where row_number in (select unnest(?::bigint[]))"
                numbers |= {number for (number,) in self.engine.execute(query, [asked]).fetchall()}
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
