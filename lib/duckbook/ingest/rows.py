"""What ingestion says about a row, as SQL expressions: its columns' names, its key and its hash.

Rows are text throughout: types are the business of staging. The expressions read the columns that a source gave,
so that a column which a source never had costs nothing.
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
"""What ingestion adds to every row in raw, and the types of it."""

RESERVED = {*ROW_COLUMNS, "_readable", "filename", "file_row_number", "file_index"}

UNIT, RECORD = "\x1f", "\x1e"
"""What begins a column in the text of a row, and what ends its name."""


def column_name(name: str) -> str:
    """The column of raw that keeps what a source calls `name`: DuckDB's names know no case.

    Names of our own bookkeeping are left to it.
    """
    name = name.strip(" ").lower()
    if not name:
        return "unnamed"
    return f"{name}_of_source" if name in RESERVED else name


def normalised(part: str) -> str:
    """An id without what a source's type adds to it: 123, '123', ' 123 ' and '123.0' are one id; blank is none."""
    return (
        f"nullif(case when ends_with(trim({part}), '.0') "
        f"then regexp_replace(trim({part}), '^(-?[0-9]+)[.]0$', '\\1') else trim({part}) end, '')"
    )


def row_number(columns: Collection[str]) -> str:
    """The number of a row in its batch, from 1, in a file of rows that is read with ``file_row_number``.

    A file that holds all rows as they came needs no column for it.
    """
    return "_row_number" if "_row_number" in columns else "file_row_number + 1"


def whole_numbers(types: Mapping[str, str]) -> frozenset[str]:
    """The columns whose text can only be that of a whole number, because the type in Postgres says so."""
    return frozenset(name for name, kind in types.items() if kind in {"smallint", "integer", "bigint"})


def key(table: SourceTable, columns: Collection[str], whole: Collection[str] = ()) -> str:
    """The business key of a row, null when a part of it is missing.

    Parts are joined by ``|``; a part that holds one itself is escaped, so that ('a|b', 'c') is not ('a', 'b|c'). The
    text of `whole_numbers` is an id as it stands, which saves most of the work.
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
    """The key of a row in a file of the history: its business key, else what was derived from its content.

    A file has a column for the second only where a row needed it.
    """
    own = key(table, columns, whole)
    return f"coalesce({own}, _key)" if "_key" in columns else own


def content(columns: Sequence[str]) -> str:
    """A row as one text: its values that are not null, each with the name of its column, in the order of the names.

    A further column that is null, and another order of columns, change nothing. Two rows have the same text only if
    they are the same: a `UNIT` in a value is told from the beginning of a column by the `RECORD` that follows it at
    once, for no column is without a name.
    """
    # Joined with ||, a name and its value would be copied once more than needed, which takes half as long again.
    named = (
        f"case when {column} is null then '' else {literal(f'{UNIT}{_bare(name)}{RECORD}')} end, "
        f"case when contains({column}, chr(31)) then replace({column}, chr(31), chr(31) || chr(30)) else {column} end"
        for name, column in ((name, quoted(name)) for name in sorted(columns))
    )
    return f"concat({', '.join(named)})" if columns else "''"


def _bare(name: str) -> str:
    return name.replace(UNIT, "\\x1f").replace(RECORD, "\\x1e")


def row_hash(columns: Sequence[str]) -> str:
    """The `digest` of a row's `content`: the same on every machine and in every version of DuckDB."""
    return digest(content(columns))
