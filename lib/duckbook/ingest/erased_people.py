"""Find and erase the rows of erased people.

Rows of the customers table are deleted. Rows of other tables stay, because orders and events are also the shop's
books, but lose their personal columns (`meta: {personal: true}` or `{erased: true}` in ``_sources.yml``) and every
undeclared column: their customer becomes the unknown member, and their revenue counts. Of an erased person only a
salted hash is kept, with which every later batch is compared.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.ingest import mentions, rows
from duckbook.ingest.batches import History
from duckbook.ingest.reading import Reading
from duckbook.ingest.rows import ROW_COLUMNS
from duckbook.source_tables import SourceTable, source_tables
from duckbook.sql import PARQUET, literal, quoted

if TYPE_CHECKING:
    import duckdb

PERSON = "customer_id"
"""Column with the id of a person."""

ERASED_LINE = '{"forgotten": true}'
"""Replaces the text of an unreadable line."""


def tables() -> dict[str, SourceTable]:
    """Return the source tables with a customer_id."""
    return {name: table for name, table in source_tables().items() if PERSON in table.column_names}


def is_person_table(table: SourceTable) -> bool:
    """Whether each row of the table is a person, so that erasure deletes rows."""
    return table.key == (PERSON,)


def new_salt() -> str:
    """Return a salt for a history's first erasure."""
    return secrets.token_hex(16)


def hash_id(salt: str, customer_id: str) -> str:
    """Hash the id of a person, in the form of `rows.normalised`."""
    return sha256(f"{salt}{customer_id}".encode()).hexdigest()


def hash_email(salt: str, address: str) -> str:
    """Hash an e-mail, which finds erased people in lines and rows without an id."""
    return hash_id(salt, f"e-mail:{mentions.normalised_email(address)}")


def remove_erased(
    connection: duckdb.DuckDBPyConnection, readings: Sequence[Reading], history: History
) -> tuple[list[Reading], int]:
    """Remove erased people from readings; return the new readings and the number of affected rows and lines."""
    affected, cleaned = 0, []
    for reading in readings:
        if history.erased and reading.source.table in tables():
            count, reading = _remove_from(connection, reading, history)
            affected += count
        cleaned.append(reading)
    return cleaned, affected


def _remove_from(connection: duckdb.DuckDBPyConnection, reading: Reading, history: History) -> tuple[int, Reading]:
    table, affected = tables()[reading.source.table], 0
    if reading.readable:
        rows_file = str(reading.path)
        numbers = _rows_of_erased(connection, rows_file, reading.columns, history)
        if numbers:
            affected, new = len(numbers), reading.path.with_name("without.parquet")
            columns = rewrite(connection, table, rows_file, reading.columns, new, numbers)
            deleted = affected if is_person_table(table) else 0
            reading = replace(
                reading, path=new, columns=columns, landed=reading.landed - deleted, readable=reading.readable - deleted
            )
    if reading.unreadable:
        path, count = reading.unreadable
        lines = connection.execute(f"select row_number, original from {literal(str(path))}").fetchall()
        numbers = [number for number, text in lines if _names_an_erased_person(text, history)]
        if numbers:
            affected += len(numbers)
            reading = replace(reading, unreadable=(rewrite_lines(connection, str(path), path, numbers), count))
    return affected, reading


def _rows_of_erased(
    connection: duckdb.DuckDBPyConnection, path: str, columns: Sequence[str], history: History
) -> list[int]:
    """Return the numbers of rows that name an erased person by id or, in rows without an id, by e-mail."""
    numbers: list[int] = []
    without_id = "true"
    if PERSON in columns:
        _create_erased_people_table(connection, f"select {quoted(PERSON)} as id from {literal(path)}", history)
        numbers += rows_of_people(connection, [path]).get(path, [])
        without_id = f"coalesce(trim({quoted(PERSON)}), '') = ''"
    if "email" in columns and history.erased_emails:
        query = (
            f"select {rows.row_number(columns)}, email from read_parquet({literal(path)}, file_row_number = true) "
            f"where {without_id} and email is not null"
        )
        for number, address in connection.execute(query).fetchall():
            if hash_email(history.salt, address) in history.erased_emails:
                numbers.append(number)
    return sorted(numbers)


def _names_an_erased_person(line: str, history: History) -> bool:
    ids = {spelling for person in mentions.named_ids(line) for spelling in (person, mentions.plain_id(person))}
    if any(hash_id(history.salt, person) in history.erased for person in ids):
        return True
    emails = {address for form in mentions.forms(line) for address in mentions.E_MAIL.findall(form)}
    return not ids and any(hash_email(history.salt, each) in history.erased_emails for each in emails)


def _create_erased_people_table(connection: duckdb.DuckDBPyConnection, query: str, history: History) -> None:
    """Create the temp table `people` from the ids of a query that are of erased people."""
    people = ", ".join(literal(person) for person in sorted(history.erased))
    connection.execute(
        f"create or replace temp table people as select distinct id from (select {rows.normalised('id')} as id "
        f"from ({query})) where sha256({literal(history.salt)} || id) in ({people})"
    )


def create_people_table(connection: duckdb.DuckDBPyConnection, ids: Collection[str]) -> None:
    """Create the temp table `people` from ids."""
    connection.execute("create or replace temp table people as select unnest(?::varchar[]) as id", [list(ids)])


def names_a_person(expression: str) -> str:
    """Return SQL for whether an id is in `people`."""
    return f"coalesce({rows.normalised(expression)} in (select id from people), false)"


def rows_of_people(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> dict[str, list[int]]:
    """Return file → numbers of the rows whose customer_id is in `people`; files without such rows are left out."""
    names = mentions.columns_of(connection, files)
    if PERSON not in names:
        return {}
    number = mentions.number_of(names)
    query = (
        f"select filename, list({number} order by {number}) from {mentions.scan(files)} "
        f"where {names_a_person(quoted(PERSON))} group by filename order by filename"
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
    """Rewrite a file of rows without personal data; rows keep their numbers.

    Parameters
    ----------
    gone
        Numbers of the rows of erased people.
    cells
        Column → numbers of further rows whose value in it is erased.

    Returns
    -------
    tuple of str
        Columns of the new file.
    """
    names, cells = list(columns), cells or {}
    data = [name for name in names if name not in ROW_COLUMNS]
    whole = is_person_table(table)
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
    new_hash = f"case when {changed} then {rows.row_hash(data)} else _row_hash end as _row_hash"
    listed = ", ".join(new_hash if name == "_row_hash" else quoted(name) for name in written)
    numbered, kept = (", _place as _row_number", "where not _gone") if whole else ("", "")
    query = f"select {listed}{numbered} from ({replaced}) {kept} order by _place"
    connection.execute(f"copy ({query}) to {literal(str(path))} {PARQUET}")
    return (*written, "_row_number") if whole else tuple(written)


def rewrite_lines(connection: duckdb.DuckDBPyConnection, source: str, path: Path, numbers: Collection[int]) -> Path:
    """Rewrite a file of unreadable lines without the text of some; return the new path."""
    path = path.with_name("unreadable-without.parquet")
    erased = f"row_number in ({', '.join(map(str, sorted(numbers)))})"
    # A reason may quote the name of a column; earlier versions wrote "the column … stands in it twice".
    query = (
        f"select row_number, case when {erased} "
        "then regexp_replace(reason, '^(has )?the column .* twice$', 'has a column twice') else reason end as reason, "
        f"case when {erased} then {literal(ERASED_LINE)} else original end as original "
        f"from {literal(source)} order by row_number"
    )
    connection.execute(f"copy ({query}) to {literal(str(path))} {PARQUET}")
    return path
