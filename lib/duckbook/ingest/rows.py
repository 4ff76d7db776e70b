"""SQL expressions for a row's column names, key, hash and number.

All values are text; staging casts them. The expressions only read columns that a source has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from duckbook.source_tables import SourceTable
from duckbook.sql import digest, literal, quoted

ROW_COLUMNS = {
    "_key": "varchar",
    "_batch_id": "varchar",
    "_row_number": "bigint",
    "_row_hash": "ubigint",
    "_source": "varchar",
    "_loaded_at": "timestamp",
}
"""Columns that ingestion adds to every row in raw, with their types."""

RESERVED = {*ROW_COLUMNS, "_readable", "filename", "file_row_number", "file_index"}

UNIT, RECORD = "\x1f", "\x1e"
"""Characters that begin a column in the text of a row, and that end its name."""


def column_name(name: str) -> str:
    """Return the column of raw for a name in a source, in lower case and without conflicts with our own columns."""
    name = name.strip(" ").lower()
    if not name:
        return "unnamed"
    return f"{name}_of_source" if name in RESERVED else name


def normalised(part: str) -> str:
    """Return SQL for an id regardless of its type in the source: 123, ' 123 ' and '123.0' are equal; blank is null."""
    return (
        f"nullif(case when ends_with(trim({part}), '.0') "
        f"then regexp_replace(trim({part}), '^(-?[0-9]+)[.]0$', '\\1') else trim({part}) end, '')"
    )


def row_number(columns: Collection[str]) -> str:
    """Return SQL for a row's number in its batch, from 1, in a file that is read with ``file_row_number``.

    Files that hold all rows of a source in order have no column for it.
    """
    return "_row_number" if "_row_number" in columns else "file_row_number + 1"


def whole_numbers(types: Mapping[str, str]) -> frozenset[str]:
    """Return the columns with an integer type in Postgres."""
    return frozenset(name for name, kind in types.items() if kind in {"smallint", "integer", "bigint"})


def key(table: SourceTable, columns: Collection[str], whole: Collection[str] = ()) -> str:
    """Return SQL for the business key of a row; null if a part is missing.

    Parts are joined by ``|``, which is escaped within a part, so that ('a|b', 'c') is not ('a', 'b|c'). Columns in
    `whole` (`whole_numbers`) need no normalisation, which saves most of the work.
    """
    if not set(table.key) <= set(columns):
        return "cast(null as varchar)"
    if len(table.key) == 1:
        (name,) = table.key
        return quoted(name) if name in whole else normalised(quoted(name))
    return " || '|' || ".join(
        quoted(name) if name in whole else f"replace(replace({normalised(quoted(name))}, '\\', '\\\\'), '|', '\\|')"
        for name in table.key
    )


def any_key(table: SourceTable, columns: Collection[str], whole: Collection[str] = ()) -> str:
    """Return SQL for the business key of a row in a file of the history or, without one, the derived key.

    Only files with a derived key have a column for it.
    """
    own = key(table, columns, whole)
    return f"coalesce({own}, _key)" if "_key" in columns else own


def content(columns: Sequence[str]) -> str:
    """Return SQL for the content of a row as one text: its non-null values with their column names, sorted by name.

    Null columns and the order of columns do not matter. The text is unambiguous: a `UNIT` within a value is followed
    by a `RECORD`, which cannot follow the `UNIT` that begins a column, because column names are not empty.
    """
    # concat with many arguments: joining names and values with || copies them once more and takes 1.5 times as long.
    parts = (
        f"case when {column} is null then '' else {literal(f'{UNIT}{_without_separators(name)}{RECORD}')} end, "
        f"case when contains({column}, chr(31)) then replace({column}, chr(31), chr(31) || chr(30)) else {column} end"
        for name, column in ((name, quoted(name)) for name in sorted(columns))
    )
    return f"concat({', '.join(parts)})" if columns else "''"


def _without_separators(name: str) -> str:
    return name.replace(UNIT, "\\x1f").replace(RECORD, "\\x1e")


def row_hash(columns: Sequence[str]) -> str:
    """Return SQL for the hash of a row's `content`, which is the same on every machine and in every DuckDB version."""
    return digest(content(columns))
