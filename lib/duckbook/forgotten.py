"""People who were forgotten: how their rows are told, and what becomes of them.

Rows of the person's own table go. Rows of other tables stay, because orders and events are the store's books too, and
lose the columns that tell whose they are (`meta: {personal: true}` or `{erased: true}` in ``_sources.yml``), with any
column that nobody declared: their customer is then the unknown member, and their money counts. Who was forgotten is
known by a salted hash alone, against which every later batch is held.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook import rows
from duckbook.batches import Chronicle
from duckbook.reading import Reading
from duckbook.rows import PARQUET, ROW_COLUMNS, literal, quoted
from duckbook.tables import SourceTable, source_tables

if TYPE_CHECKING:
    import duckdb

PERSON = "customer_id"
"""The column that names a person."""

ERASED_LINE = '{"forgotten": true}'
"""What takes the place of the text of an unreadable line."""

NAMED_IN_LINE = r'"customer_id"\s*:\s*("(?:[^"\\]|\\.)*|[^",}\s]+)'
"""How an unreadable line names a person, as far as it can be told."""


def tables() -> dict[str, SourceTable]:
    """The source tables whose rows name a person."""
    return {name: table for name, table in source_tables().items() if PERSON in table.column_names}


def is_of_people(table: SourceTable) -> bool:
    """Whether a row of the table is a person, and goes whole."""
    return table.key == (PERSON,)


def new_salt() -> str:
    """A salt for a history in which nobody was forgotten yet."""
    return secrets.token_hex(16)


def hashed(salt: str, customer_id: str) -> str:
    """What is kept of a person who was forgotten; the id as `rows.normalised` leaves it."""
    return sha256(f"{salt}{customer_id}".encode()).hexdigest()


def hold_back(
    connection: duckdb.DuckDBPyConnection, readings: Sequence[Reading], chronicle: Chronicle
) -> tuple[list[Reading], int]:
    """What was read, without what it brings of people who were forgotten; and how many rows and lines that were."""
    held, kept = 0, []
    for reading in readings:
        if chronicle.forgotten and reading.source.table in tables():
            count, reading = _without(connection, reading, chronicle)
            held += count
        kept.append(reading)
    return kept, held


def _without(connection, reading: Reading, chronicle: Chronicle) -> tuple[int, Reading]:
    table, held = tables()[reading.source.table], 0
    if reading.readable and PERSON in reading.columns:
        _name_people(connection, f"select {quoted(PERSON)} as id from {literal(str(reading.path))}", chronicle)
        if held := rows_of_people(connection, [str(reading.path)]).get(str(reading.path), 0):
            path = reading.path.with_name("without.parquet")
            columns = rewrite(connection, table, str(reading.path), reading.columns, path)
            gone = held if is_of_people(table) else 0
            reading = replace(
                reading, path=path, columns=columns, landed=reading.landed - gone, readable=reading.readable - gone
            )
    if reading.unreadable:
        path, lines = reading.unreadable
        _name_people(connection, f"select {in_line('original')} as id from {literal(str(path))}", chronicle)
        if found := lines_of_people(connection, [str(path)]).get(str(path), 0):
            held += found
            reading = replace(reading, unreadable=(rewrite_lines(connection, str(path), path), lines))
    return held, reading


def _name_people(connection, query: str, chronicle: Chronicle) -> None:
    """Make the temp table `people` of those among the ids of a query who were forgotten."""
    people = ", ".join(literal(person) for person in sorted(chronicle.forgotten))
    connection.execute(
        f"create or replace temp table people as select distinct id from (select {rows.normalised('id')} as id "
        f"from ({query})) where sha256({literal(chronicle.salt)} || id) in ({people})"
    )


def name_people(connection: duckdb.DuckDBPyConnection, ids: Collection[str]) -> None:
    """Make the temp table `people` of ids, which the functions below look for."""
    connection.execute("create or replace temp table people as select unnest(?::varchar[]) as id", [list(ids)])


def is_of_a_person(expression: str) -> str:
    """Whether an id is that of one of `people`, as SQL."""
    return f"coalesce({rows.normalised(expression)} in (select id from people), false)"


def in_line(expression: str) -> str:
    """The id that an unreadable line names, as SQL; null where it names none."""
    return f"""nullif(ltrim(regexp_extract({expression}, {literal(NAMED_IN_LINE)}, 1), '"'), '')"""


def rows_of_people(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, int]:
    """File of rows → how many of them are of `people`, for those files that have any."""
    return _counted(connection, files, quoted(PERSON))


def lines_of_people(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, int]:
    """File of unreadable lines → how many of them name one of `people`, for those files that have any."""
    return _counted(connection, files, in_line("original"))


def _counted(connection, files: Sequence[str], person: str) -> dict[str, int]:
    if not files:
        return {}
    read = f"read_parquet({rows.listed(files)}, filename = true, union_by_name = true, hive_partitioning = false)"
    names = {name for name, *_ in connection.execute(f"describe select * from {read}").fetchall()}
    if not names & {PERSON, "original"}:
        return {}  # A source that never named a person.
    query = f"select filename, count(*) from {read} where {is_of_a_person(person)} group by filename order by filename"
    return dict(connection.execute(query).fetchall())


def rewrite(
    connection: duckdb.DuckDBPyConnection, table: SourceTable, source: str, columns: Iterable[str], path: Path
) -> tuple[str, ...]:
    """Write a file of rows anew without what tells of `people`; rows keep their numbers.

    Returns
    -------
    tuple of str
        The columns of the new file.
    """
    names = list(columns)
    number = rows.row_number(names)
    read = f"read_parquet({literal(source)}, file_row_number = true)"
    if is_of_people(table):
        written = [name for name in names if name != "_row_number"]
        query = (
            f"select {', '.join(map(quoted, written))}, {number} as _row_number from {read} "
            f"where not {is_of_a_person(quoted(PERSON))} order by _row_number"
        )
        connection.execute(f"copy ({query}) to {literal(str(path))} {PARQUET}")
        return (*written, "_row_number")
    data = [name for name in names if name not in ROW_COLUMNS]
    gone = set(table.erased) | (set(data) - set(table.column_names))
    blanked = ", ".join(f"case when not _gone then {quoted(n)} end as {quoted(n)}" for n in data if n in gone)
    marked = f"select *, {is_of_a_person(quoted(PERSON))} as _gone, {number} as _place from {read}"
    hashed_anew = f"case when _gone then {rows.row_hash(data)} else _row_hash end as _row_hash"
    written = ", ".join(hashed_anew if name == "_row_hash" else quoted(name) for name in names)
    query = f"select {written} from (select * replace ({blanked}) from ({marked})) order by _place"
    connection.execute(f"copy ({query}) to {literal(str(path))} {PARQUET}")
    return tuple(names)


def rewrite_lines(connection: duckdb.DuckDBPyConnection, source: str, path: Path) -> Path:
    """Write a file of unreadable lines anew without the text of those that name `people`; the new file."""
    path = path.with_name("unreadable-without.parquet")
    erased = f"case when {is_of_a_person(in_line('original'))} then {literal(ERASED_LINE)} else original end"
    query = f"select row_number, reason, {erased} as original from {literal(source)} order by row_number"
    connection.execute(f"copy ({query}) to {literal(str(path))} {PARQUET}")
    return path
