"""Reading one source into a local Parquet file of text columns, by DuckDB.

A record that cannot be read is kept apart with its original text and the reason; a source that cannot be read at all
is an error. Nothing is written but files in the folder that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from hashlib import md5
from pathlib import Path

import duckdb

from duckbook.backends import disk_space
from duckbook.backends.warehouse import LANDING_DATABASE
from duckbook.errors import IngestError, first_line
from duckbook.ingest import object_formats, record_schemas, rows
from duckbook.ingest.sources import PostgresSource, Source, StoredSource
from duckbook.source_tables import source_tables
from duckbook.sql import PARQUET, literal, quoted

TEXT_ALIKE = re.compile(
    r"smallint|integer|bigint|text|character varying(\(\d+\))?|boolean|uuid|date"
    r"|timestamp(\(\d\))? with(out)? time zone|numeric\((\d|[12]\d|3[0-8]),\d+\)"
)
"""Postgres types that DuckDB reads without a loss, and writes as text the way Postgres does."""


@dataclass(frozen=True)
class Reading:
    """One source, read.

    Attributes
    ----------
    date
        The date that the source declares, None when it declares none.
    path
        Parquet file of the rows that could be read: text columns, `_row_hash`, and where the row itself does not
        tell them, `_row_number` (else its position, from 1) and `_key` (of rows without one of their own).
    columns
        Columns of that file that hold something.
    types
        Column → type that the source gives it: Postgres's name, or those of JSON; for large objects from a sample.
    landed, readable
        Records that the source holds, and those among them that could be read.
    unreadable
        Parquet file of the others (row_number, reason, original), and how many it holds; None when there are none.
    content_hash
        Tells whether the content is the same as before.
    """

    source: Source
    date: date | None
    path: Path
    columns: tuple[str, ...]
    types: dict[str, str]
    landed: int
    readable: int
    unreadable: tuple[Path, int] | None
    content_hash: str

    @property
    def drift(self) -> dict[str, list[str]]:
        """Columns that the definition lacks, and columns that the source lacks, which only rows can tell."""
        defined = source_tables()[self.source.table].column_names
        given = [name for name in self.columns if name not in rows.ROW_COLUMNS]
        return {
            "added": [name for name in given if name not in defined],
            "missing": [name for name in defined if name not in given] if self.readable else [],
        }


def read(connection: duckdb.DuckDBPyConnection, client, source: Source, folder: Path) -> Reading:
    """Read a source into files of a folder of its own.

    Parameters
    ----------
    connection
        An engine with the landing zone in use.
    client
        A boto3 client of the object store.

    Raises
    ------
    IngestError
        The source cannot be read; the sentence names it.
    """
    connection.execute("set timezone = 'UTC'")
    try:
        if isinstance(source, PostgresSource):
            return _read_relation(connection, source, folder)
        return _read_object(connection, client, source, folder)
    except duckdb.Error as error:
        # The file that DuckDB names is our copy, or the source that the sentence names already.
        why = re.sub(r',? in file "[^"]*"|while reading file "[^"]*" ', "", first_line(error)).rstrip(". ")
        why = why.partition(": ")[2].replace(str(folder), "")
        if disk_space.FULL.search(why):
            raise IngestError(f"{source.name} was not read: {why}.") from error
        raise IngestError(f"{source.name} cannot be read: {why}. Fix it at its source and land it again.") from error


def _read_object(connection, client, source: StoredSource, folder: Path) -> Reading:
    opened = object_formats.opened(client, source, folder)
    try:
        found = record_schemas.find(connection, source, opened)
    except duckdb.InvalidInputException as error:
        if "maximum_object_size" not in str(error):
            raise
        opened.has_huge_records = True
        found = record_schemas.find(connection, source, opened)
    columns, path = found.columns, folder / "read.parquet"
    parsed = f"select {', '.join([*found.selected, f'{found.readable} as _readable'])} from ({opened.records_sql})"
    _copy(connection, source, parsed, columns, path, kept="*" if found.faulty else "* exclude (_readable)")
    in_document = opened.declared(connection)
    declared = source.declared or in_document
    unreadable = _set_apart(connection, opened, path) if found.faulty else None
    opened.local.unlink(missing_ok=True)
    reading = _settled(connection, source, declared, path, columns, found.types, unreadable)
    if reading.landed and not reading.readable:
        raise IngestError(
            f"{source.name} cannot be read: none of its {reading.landed:,} lines is a JSON object. "
            'Land one record a line, one array of records, or one document with a list of them under "data".'
        )
    return reading


def _set_apart(connection, opened: object_formats.Opened, path: Path) -> tuple[Path, int]:
    """Write the records that cannot be read to a file of their own, with the reason and their text."""
    found = connection.execute(
        f"select file_row_number from read_parquet({literal(str(path))}, file_row_number = true) "
        "where not _readable order by 1"
    )
    numbers = [number for (number,) in found.fetchall()]
    if opened.format == "lines":
        lines = opened.lines(numbers)
    else:
        connection.execute(f"create or replace temp table elements as {opened.records_sql}")
        found = connection.execute(
            "select json from elements where rowid in (select unnest(?)) order by rowid", [numbers]
        )
        lines = [text.encode() for (text,) in found.fetchall()]
    apart = path.with_name("unreadable.parquet")
    reasons = [object_formats.why_unreadable(line) for line in lines]
    originals = [line.decode("utf-8", errors="backslashreplace") for line in lines]
    connection.execute(
        "create or replace temp table unreadable as select unnest(?::bigint[]) + 1 as row_number, "
        "unnest(?::varchar[]) as reason, unnest(?::varchar[]) as original",
        [numbers, reasons, originals],
    )
    (count,) = connection.execute(f"copy unreadable to {literal(str(apart))} {PARQUET}").fetchone()
    return apart, count


def _read_relation(connection, source: PostgresSource, folder: Path) -> Reading:
    named: dict[str, str] = {}
    for name, _ in source.columns:
        column = rows.column_name(name)
        if column in named:
            raise IngestError(f"{source.name} has two columns called {column}: rename one of them.")
        named[column] = name
    path, columns = folder / "read.parquet", list(named)
    types = {column: dict(source.columns)[name] for column, name in named.items()}
    whole = rows.whole_numbers(types)
    scanned = ", ".join(f"cast({quoted(name)} as varchar) as {quoted(column)}" for column, name in named.items())
    table = f"{LANDING_DATABASE}.{quoted(source.schema)}.{quoted(source.relation)}"
    try:
        if not all(TEXT_ALIKE.fullmatch(kind) for _, kind in source.columns):
            raise duckdb.NotImplementedException("types that only Postgres can write as text")
        _copy(connection, source, f"select {scanned} from {table}", columns, path, whole=whole)
        if _is_misread(connection, source, path, types):
            raise duckdb.NotImplementedException("values that DuckDB reads as others")
    except (duckdb.NotImplementedException, duckdb.ConversionException, duckdb.InvalidInputException):
        # Slower, in one stream, but every type has a text in Postgres.
        # The text of money has a currency's sign, and a comma where the server's locale has one.
        number = {column: "::numeric" for column, kind in types.items() if kind == "money"}
        cast = ", ".join(f"{quoted(name)}{number.get(column, '')}::text" for column, name in named.items())
        # A server may be set to write dates in another order, and each query may come by a session of its own.
        iso = "(select set_config('datestyle', 'ISO', true)) is not null"
        query = f"select {cast} from {quoted(source.schema)}.{quoted(source.relation)} where {iso}"
        renamed = ", ".join(f"#{n} as {quoted(column)}" for n, column in enumerate(columns, 1))
        queried = f"select {renamed} from postgres_query({literal(LANDING_DATABASE)}, {literal(query)})"
        _copy(connection, source, queried, columns, path, whole=whole)
    return _settled(connection, source, source.declared, path, columns, types, None)


def _is_misread(connection, source: PostgresSource, path: Path, types: dict[str, str]) -> bool:
    """Whether a table holds values that DuckDB's reader of Postgres takes for others, without an error.

    A NaN in a numeric with a precision becomes 0, and a time after 294247 one before Christ.
    """
    numbers = [name for name, kind in source.columns if kind.startswith("numeric")]
    if numbers:
        asked = " or ".join(f"{quoted(name)} = 'NaN'" for name in numbers)
        query = f"select 1 from {quoted(source.schema)}.{quoted(source.relation)} where {asked} limit 1"
        if connection.execute("from postgres_query(?, ?)", [LANDING_DATABASE, query]).fetchone():
            return True
    times = [column for column, kind in types.items() if kind.startswith("timestamp")]
    if not times:
        return False
    before_christ = " or ".join(f"ends_with({quoted(column)}, '(BC)')" for column in times)
    return bool(connection.execute(f"select 1 from {literal(str(path))} where {before_christ} limit 1").fetchone())


def _copy(
    connection, source: Source, query: str, columns: list[str], path: Path, kept: str = "*", whole: Collection[str] = ()
) -> None:
    """Write the rows of a query to a file, with the hash of each, and the key of those that have none of their own.

    That key is of the content and tells the first row of its kind; whether there are others is seen when all are read.
    `whole` are the columns that hold nothing but whole numbers, as in `rows.key`.
    """
    key = f"case when {without_key(source, columns, whole)} then md5({rows.content(columns)}) || '#1' end as _key"
    connection.execute(
        f"copy (select {kept}, {rows.row_hash(columns)} as _row_hash, {key} from ({query})) "
        f"to {literal(str(path))} {PARQUET}"
    )


def without_key(source: Source, columns: list[str], whole: Collection[str]) -> str:
    """Whether a row lacks a part of its business key, as SQL."""
    key = source_tables()[source.table].key
    if not set(key) <= set(columns):
        return "true"
    return " or ".join(
        f"{quoted(name)} is null" if name in whole else f"coalesce(trim({quoted(name)}), '') = ''" for name in key
    )


def _settled(
    connection,
    source: Source,
    declared: date | None,
    path: Path,
    columns: list[str],
    types: dict[str, str],
    unreadable: tuple[Path, int] | None,
) -> Reading:
    """Take out what could not be read, and tell rows apart that have no key of their own and the same content."""
    is_readable = "_readable" if unreadable else "true"
    landed, readable, keyless, repeated, content = connection.execute(
        f"select count(*), count(*) filter ({is_readable}), count(_key) filter ({is_readable}), "
        f"count(_key) filter ({is_readable}) - count(distinct _key) filter ({is_readable}), "
        f"sum(cast(_row_hash as hugeint)) from {literal(str(path))}"
    ).fetchone()
    written = [*columns, "_row_hash", *(["_key"] if keyless else [])]
    if unreadable or repeated:
        written.append("_row_number")
        read = (
            f"select *, file_row_number + 1 as _row_number from read_parquet({literal(str(path))}, "
            f"file_row_number = true) where {is_readable}"
        )
        if repeated:
            number = "row_number() over (partition by _key order by _row_number)"
            read = (
                f"with row_read as ({read}) select row_read.* exclude (_key), nth.nth_key as _key from row_read "
                f"left join (select _row_number, left(_key, -1) || {number} as nth_key from row_read "
                "where _key is not null) as nth using (_row_number)"
            )
        settled = path.with_name("settled.parquet")
        listed = ", ".join(map(quoted, written))
        # DuckDB keeps the order of a file that it reads through, but not that of one which it joins.
        order = " order by _row_number" if repeated else ""
        connection.execute(f"copy (select {listed} from ({read}){order}) to {literal(str(settled))} {PARQUET}")
        path.unlink()
        path = settled
    if isinstance(source, StoredSource):
        told = source.fingerprint
    else:
        told = md5(f"{landed}:{content}".encode(), usedforsecurity=False).hexdigest()
    return Reading(source, declared, path, tuple(written), types, landed, readable, unreadable, told)
