"""Read one source into a local Parquet file of text columns, with DuckDB.

Unreadable records go to a second file with their original text and the reason; a source that cannot be read at all is
an error. Only files in the caller's folder are written.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from duckbook.backends import disk_space
from duckbook.backends.warehouse import LANDING_DATABASE
from duckbook.errors import IngestError, first_line
from duckbook.ingest import object_formats, record_schemas, rows
from duckbook.ingest.sources import PostgresSource, Source, StoredSource
from duckbook.source_tables import source_tables
from duckbook.sql import PARQUET, literal, quoted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SAME_TEXT = re.compile(
    r"smallint|integer|bigint|text|character varying(\(\d+\))?|boolean|uuid|date"
    r"|timestamp(\(\d\))? with(out)? time zone|numeric\((\d|[12]\d|3[0-8]),\d+\)"
)
"""Postgres types that DuckDB reads without loss and casts to the same text as Postgres."""


@dataclass(frozen=True)
class Reading:
    """The content of a source in local files.

    Attributes
    ----------
    date
        Date that the source declares, if any.
    path
        Parquet file of the readable rows: text columns, `_row_hash`, if needed `_row_number` (without it, the position
        from 1 is the number) and `_key` (for rows without a business key).
    columns
        Columns of that file.
    types
        Column → type in the source, of Postgres or of JSON; for large objects from a sample.
    landed, readable
        Number of records, and of readable records.
    unreadable
        Parquet file of the other records (row_number, reason, original), and their number; None if there are none.
    content_hash
        Hash of the content.
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
        """Columns that the definition lacks, and that the source lacks; the latter is empty without rows."""
        defined = source_tables()[self.source.table].column_names
        given = [name for name in self.columns if name not in rows.ROW_COLUMNS]
        return {
            "added": [name for name in given if name not in defined],
            "missing": [name for name in defined if name not in given] if self.readable else [],
        }


def read(connection: duckdb.DuckDBPyConnection, client: S3Client, source: Source, folder: Path) -> Reading:
    """Read a source into files of a folder of its own.

    Parameters
    ----------
    connection
        An engine that can read the landing zone.
    client
        A boto3 client of the object storage.

    Raises
    ------
    IngestError
        The source cannot be read.
    """
    connection.execute("set timezone = 'UTC'")
    try:
        if isinstance(source, PostgresSource):
            return _read_relation(connection, source, folder)
        return _read_object(connection, client, source, folder)
    except duckdb.Error as error:
        # DuckDB's message names our copy of the object, or repeats the source.
        why = re.sub(r',? in file "[^"]*"|while reading file "[^"]*" ', "", first_line(error)).rstrip(". ")
        why = why.partition(": ")[2].replace(str(folder), "")
        if disk_space.FULL.search(why):
            raise IngestError(f"{source.name} was not read: {why}.") from error
        raise IngestError(f"{source.name} cannot be read: {why}. Fix it at its source and land it again.") from error


def _read_object(
    connection: duckdb.DuckDBPyConnection, client: S3Client, source: StoredSource, folder: Path
) -> Reading:
    opened = object_formats.open_object(client, source, folder)
    try:
        schema = record_schemas.find(connection, source, opened)
    except duckdb.InvalidInputException as error:
        if "maximum_object_size" not in str(error):
            raise
        opened.has_huge_records = True
        schema = record_schemas.find(connection, source, opened)
    columns, path = schema.columns, folder / "read.parquet"
    parsed = f"select {', '.join([*schema.selected, f'{schema.readable} as _readable'])} from ({opened.records_sql})"
    _copy(connection, source, parsed, columns, path, kept="*" if schema.has_unreadable else "* exclude (_readable)")
    in_document = opened.declared(connection)
    declared = source.declared or in_document
    unreadable = _write_unreadable(connection, opened, path) if schema.has_unreadable else None
    opened.local.unlink(missing_ok=True)
    reading = _finish(connection, source, declared, path, columns, schema.types, unreadable)
    if reading.landed and not reading.readable:
        raise IngestError(
            f"{source.name} cannot be read: none of its {reading.landed:,} lines is a JSON object. "
            'Land one record per line, one array of records, or one document with a list of them under "data".'
        )
    return reading


def _write_unreadable(
    connection: duckdb.DuckDBPyConnection, opened: object_formats.OpenedObject, path: Path
) -> tuple[Path, int]:
    """Write the unreadable records to a file of their own, with the reason and their text."""
    result = connection.execute(
        f"select file_row_number from read_parquet({literal(str(path))}, file_row_number = true) "
        "where not _readable order by 1"
    )
    numbers = [number for (number,) in result.fetchall()]
    if opened.format == "lines":
        lines = opened.lines(numbers)
    else:
        connection.execute(f"create or replace temp table elements as {opened.records_sql}")
        result = connection.execute(
            "select json from elements where rowid in (select unnest(?)) order by rowid", [numbers]
        )
        lines = [text.encode() for (text,) in result.fetchall()]
    target = path.with_name("unreadable.parquet")
    reasons = [object_formats.why_unreadable(line) for line in lines]
    originals = [line.decode("utf-8", errors="backslashreplace") for line in lines]
    connection.execute(
        "create or replace temp table unreadable as select unnest(?::bigint[]) + 1 as row_number, "
        "unnest(?::varchar[]) as reason, unnest(?::varchar[]) as original",
        [numbers, reasons, originals],
    )
    [(count,)] = connection.execute(f"copy unreadable to {literal(str(target))} {PARQUET}").fetchall()
    return target, count


def _read_relation(connection: duckdb.DuckDBPyConnection, source: PostgresSource, folder: Path) -> Reading:
    names: dict[str, str] = {}
    for name, _ in source.columns:
        column = rows.column_name(name)
        if column in names:
            raise IngestError(f"{source.name} has two columns called {column}: rename one of them.")
        names[column] = name
    path, columns = folder / "read.parquet", list(names)
    types = {column: dict(source.columns)[name] for column, name in names.items()}
    whole = rows.whole_numbers(types)
    casts = ", ".join(f"cast({quoted(name)} as varchar) as {quoted(column)}" for column, name in names.items())
    table = f"{LANDING_DATABASE}.{quoted(source.schema)}.{quoted(source.relation)}"
    try:
        if not all(SAME_TEXT.fullmatch(kind) for _, kind in source.columns):
            raise duckdb.NotImplementedException("types that only Postgres can cast to text")
        _copy(connection, source, f"select {casts} from {table}", columns, path, whole=whole)
        if _is_misread(connection, source, path, types):
            raise duckdb.NotImplementedException("values that DuckDB misreads")
    except (duckdb.NotImplementedException, duckdb.ConversionException, duckdb.InvalidInputException):
        # Let Postgres cast: slower, in a single stream, but it can cast every type to text.
        # The text of money has a currency sign and the separators of the server's locale.
        number = {column: "::numeric" for column, kind in types.items() if kind == "money"}
        casts = ", ".join(f"{quoted(name)}{number.get(column, '')}::text" for column, name in names.items())
        # The server may use another date style, and each query may run in a session of its own.
        iso = "(select set_config('datestyle', 'ISO', true)) is not null"
        query = f"select {casts} from {quoted(source.schema)}.{quoted(source.relation)} where {iso}"
        renamed = ", ".join(f"#{n} as {quoted(column)}" for n, column in enumerate(columns, 1))
        cast_by_postgres = f"select {renamed} from postgres_query({literal(LANDING_DATABASE)}, {literal(query)})"
        _copy(connection, source, cast_by_postgres, columns, path, whole=whole)
    return _finish(connection, source, source.declared, path, columns, types, None)


def _is_misread(
    connection: duckdb.DuckDBPyConnection, source: PostgresSource, path: Path, types: dict[str, str]
) -> bool:
    """Whether a table holds values that DuckDB's Postgres reader silently changes.

    NaN in a numeric with a precision becomes 0, and a time after the year 294247 becomes one before Christ.
    """
    numbers = [name for name, kind in source.columns if kind.startswith("numeric")]
    if numbers:
        is_nan = " or ".join(f"{quoted(name)} = 'NaN'" for name in numbers)
        query = f"select 1 from {quoted(source.schema)}.{quoted(source.relation)} where {is_nan} limit 1"
        if connection.execute("from postgres_query(?, ?)", [LANDING_DATABASE, query]).fetchone():
            return True
    times = [column for column, kind in types.items() if kind.startswith("timestamp")]
    if not times:
        return False
    before_christ = " or ".join(f"ends_with({quoted(column)}, '(BC)')" for column in times)
    return bool(connection.execute(f"select 1 from {literal(str(path))} where {before_christ} limit 1").fetchone())


def _copy(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    query: str,
    columns: list[str],
    path: Path,
    kept: str = "*",
    whole: Collection[str] = (),
) -> None:
    """Write the rows of a query to a file, with their hash and, for rows without a business key, a derived key.

    The derived key ends in ``#1``; `_finish` numbers rows with the same content. `whole` is that of `rows.key`.
    """
    key = f"case when {without_key(source, columns, whole)} then md5({rows.content(columns)}) || '#1' end as _key"
    connection.execute(
        f"copy (select {kept}, {rows.row_hash(columns)} as _row_hash, {key} from ({query})) "
        f"to {literal(str(path))} {PARQUET}"
    )


def without_key(source: Source, columns: list[str], whole: Collection[str]) -> str:
    """Return SQL for whether a row lacks a part of its business key."""
    key = source_tables()[source.table].key
    if not set(key) <= set(columns):
        return "true"
    return " or ".join(
        f"{quoted(name)} is null" if name in whole else f"coalesce(trim({quoted(name)}), '') = ''" for name in key
    )


def _finish(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    declared: date | None,
    path: Path,
    columns: list[str],
    types: dict[str, str],
    unreadable: tuple[Path, int] | None,
) -> Reading:
    """Remove unreadable records, and number rows that have the same derived key."""
    is_readable = "_readable" if unreadable else "true"
    [(landed, readable, keyless, repeated, content)] = connection.execute(
        f"select count(*), count(*) filter ({is_readable}), count(_key) filter ({is_readable}), "
        f"count(_key) filter ({is_readable}) - count(distinct _key) filter ({is_readable}), "
        f"sum(cast(_row_hash as hugeint)) from {literal(str(path))}"
    ).fetchall()
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
        finished = path.with_name("finished.parquet")
        listed = ", ".join(map(quoted, written))
        # DuckDB preserves the order of a scan, but not of a join.
        order = " order by _row_number" if repeated else ""
        connection.execute(f"copy (select {listed} from ({read}){order}) to {literal(str(finished))} {PARQUET}")
        path.unlink()
        path = finished
    if isinstance(source, StoredSource):
        content_hash = source.fingerprint
    else:
        content_hash = md5(f"{landed}:{content}".encode(), usedforsecurity=False).hexdigest()
    return Reading(source, declared, path, tuple(written), types, landed, readable, unreadable, content_hash)
