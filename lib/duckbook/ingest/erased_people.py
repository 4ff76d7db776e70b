"""People who were forgotten: how their rows are told, and what becomes of them.

Rows of the person's own table go. Rows of other tables stay, because orders and events are the store's books too, and
lose the columns that tell whose they are (`meta: {personal: true}` or `{erased: true}` in ``_sources.yml``), with any
column that nobody declared: their customer is then the unknown member, and their money counts. Who was forgotten is
known by a salted hash alone, against which every later batch is held.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.ingest import mentions, rows
from duckbook.ingest.batches import Chronicle
from duckbook.ingest.reading import Reading
from duckbook.ingest.rows import ROW_COLUMNS
from duckbook.source_tables import SourceTable, source_tables
from duckbook.sql import PARQUET, literal, quoted

if TYPE_CHECKING:
    import duckdb

PERSON = "customer_id"
"""The column that names a person."""

ERASED_LINE = '{"forgotten": true}'
"""What takes the place of the text of an unreadable line."""


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


def hashed_mail(salt: str, address: str) -> str:
    """What is kept of an e-mail, by which lines and rows are told that name nobody by an id."""
    return hashed(salt, f"e-mail:{mentions.e_mail(address)}")


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
    if reading.readable:
        path = str(reading.path)
        numbers = _rows_of_forgotten(connection, path, reading.columns, chronicle)
        if numbers:
            held, new = len(numbers), reading.path.with_name("without.parquet")
            columns = rewrite(connection, table, path, reading.columns, new, numbers)
            gone = held if is_of_people(table) else 0
            reading = replace(
                reading, path=new, columns=columns, landed=reading.landed - gone, readable=reading.readable - gone
            )
    if reading.unreadable:
        path, lines = reading.unreadable
        found = connection.execute(f"select row_number, original from {literal(str(path))}").fetchall()
        numbers = [number for number, text in found if _names_a_forgotten(text, chronicle)]
        if numbers:
            held += len(numbers)
            reading = replace(reading, unreadable=(rewrite_lines(connection, str(path), path, numbers), lines))
    return held, reading


def _rows_of_forgotten(connection, path: str, columns: Sequence[str], chronicle: Chronicle) -> list[int]:
    """The numbers of rows that name somebody who was forgotten: by the id, or by the e-mail where there is no id."""
    found: list[int] = []
    keyless = "true"
    if PERSON in columns:
        _name_people(connection, f"select {quoted(PERSON)} as id from {literal(path)}", chronicle)
        found += rows_of_people(connection, [path]).get(path, [])
        keyless = f"coalesce(trim({quoted(PERSON)}), '') = ''"
    if "email" in columns and chronicle.forgotten_mails:
        query = (
            f"select {rows.row_number(columns)}, email from read_parquet({literal(path)}, file_row_number = true) "
            f"where {keyless} and email is not null"
        )
        for number, address in connection.execute(query).fetchall():
            if hashed_mail(chronicle.salt, address) in chronicle.forgotten_mails:
                found.append(number)
    return sorted(found)


def _names_a_forgotten(line: str, chronicle: Chronicle) -> bool:
    named = {spelled for person in mentions.named_ids(line) for spelled in (person, mentions.plain_id(person))}
    if any(hashed(chronicle.salt, person) in chronicle.forgotten for person in named):
        return True
    found = {address for form in mentions.forms(line) for address in mentions.E_MAIL.findall(form)}
    return not named and any(hashed_mail(chronicle.salt, each) in chronicle.forgotten_mails for each in found)


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


def rows_of_people(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, list[int]]:
    """File of rows → the numbers of those that are of `people` by their id, for those files that have any."""
    names = mentions.columns_of(connection, files)
    if PERSON not in names:
        return {}  # A source that never named a person.
    number = mentions.number_of(names)
    query = (
        f"select filename, list({number} order by {number}) from {mentions.read(files)} "
        f"where {is_of_a_person(quoted(PERSON))} group by filename order by filename"
    )
    return dict(connection.execute(query).fetchall())


def rewrite(
    connection: duckdb.DuckDBPyConnection,
    table: SourceTable,
    source: str,
    columns: Iterable[str],
    path: Path,
    gone: Collection[int],
    cells: Mapping[str, Collection[int]] | None = None,
) -> tuple[str, ...]:
    """Write a file of rows anew without what tells of people; rows keep their numbers.

    Parameters
    ----------
    gone
        The numbers of the rows that are of people.
    cells
        Column → the numbers of further rows that lose their value of it.

    Returns
    -------
    tuple of str
        The columns of the new file.
    """
    names, cells = list(columns), cells or {}
    data = [name for name in names if name not in ROW_COLUMNS]
    whole = is_of_people(table)
    erased = set() if whole else set(table.erased) | (set(data) - set(table.column_names))
    connection.execute("create or replace temp table gone as select unnest(?::bigint[]) as number", [sorted(gone)])
    lost = {name: f"_place in ({', '.join(map(str, sorted(numbers)))})" for name, numbers in cells.items() if numbers}
    blanked = []
    for name in data:
        reasons = ([f"({lost[name]})"] if name in lost else []) + (["_gone"] if name in erased else [])
        if reasons:
            blanked.append(f"case when not ({' or '.join(reasons)}) then {quoted(name)} end as {quoted(name)}")
    marked = (
        f"select *, {rows.row_number(names)} as _place, _place in (select number from gone) as _gone "
        f"from read_parquet({literal(source)}, file_row_number = true)"
    )
    replaced = f"select * replace ({', '.join(blanked)}) from ({marked})" if blanked else marked
    changed = " or ".join(["_gone", *(f"({each})" for each in lost.values())])
    written = [name for name in names if name != "_row_number" or not whole]
    hashed_anew = f"case when {changed} then {rows.row_hash(data)} else _row_hash end as _row_hash"
    listed = ", ".join(hashed_anew if name == "_row_hash" else quoted(name) for name in written)
    numbered, kept = (", _place as _row_number", "where not _gone") if whole else ("", "")
    query = f"select {listed}{numbered} from ({replaced}) {kept} order by _place"
    connection.execute(f"copy ({query}) to {literal(str(path))} {PARQUET}")
    return (*written, "_row_number") if whole else tuple(written)


def rewrite_lines(connection: duckdb.DuckDBPyConnection, source: str, path: Path, numbers: Collection[int]) -> Path:
    """Write a file of unreadable lines anew without the text of some; the new file."""
    path = path.with_name("unreadable-without.parquet")
    erased = f"row_number in ({', '.join(map(str, sorted(numbers)))})"
    # A reason may quote the name of a column.
    query = (
        f"select row_number, case when {erased} "
        "then regexp_replace(reason, '^the column .* stands', 'a column stands') else reason end as reason, "
        f"case when {erased} then {literal(ERASED_LINE)} else original end as original "
        f"from {literal(source)} order by row_number"
    )
    connection.execute(f"copy ({query}) to {literal(str(path))} {PARQUET}")
    return path
