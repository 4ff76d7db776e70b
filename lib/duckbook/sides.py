"""What two targets are held against each other by: a side is a connection, and the tables that it shows.

A side is a target of the store (``duckdb``, ``lake``, ``motherduck``), a DuckDB file, or a publication. Each is opened
read-only and on a connection of its own, because the views of a warehouse name the database that they were made in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from duckbook import publish, warehouse
from duckbook.errors import DuckbookError, WarehouseError, first_line
from duckbook.rows import digest, quoted
from duckbook.settings import Settings

if TYPE_CHECKING:
    import duckdb

SCHEMAS = ("ecom_raw", "ecom_staging", "ecom_intermediate", "ecom_marts")

TARGETS = get_args(Settings.model_fields["target"].annotation)

NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
"""Types whose sums are exact; those of DECIMAL are as well, and those of DOUBLE and FLOAT are made so."""


@dataclass(frozen=True)
class Side:
    """One of the two; a context that closes its connection.

    Parameters
    ----------
    name
        How a person calls it.
    connection
        What its tables are read by.
    published
        Whether it is a publication, which holds the marts alone.
    """

    name: str
    connection: duckdb.DuckDBPyConnection
    published: bool = False

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_error: object) -> None:
        self.connection.close()

    @cached_property
    def tables(self) -> dict[str, dict[str, str]]:
        """``SCHEMA.TABLE`` → column → type, in the order of the columns; views are tables here."""
        rows = self.connection.execute(
            "select table_schema || '.' || table_name, column_name, data_type from system.information_schema.columns "
            "where table_catalog = current_database() and list_contains(?, table_schema) "
            "and not starts_with(table_name, '_') order by table_schema, table_name, ordinal_position",
            [list(SCHEMAS)],
        ).fetchall()
        found: dict[str, dict[str, str]] = {}
        for table, column, data_type in rows:
            found.setdefault(table, {})[column] = data_type
        return found

    def totals(self, table: str, columns: dict[str, str]) -> tuple[int, dict[str, str]]:
        """The rows of a table, and the sum of each of its numbers, exactly and as text."""
        sums = {column: _sum(column, data_type) for column, data_type in columns.items() if _is_number(data_type)}
        selected = ", ".join(["count(*)", *(f"cast({expression} as varchar)" for expression in sums.values())])
        rows, *values = self.connection.execute(f"select {selected} from {table}").fetchone()
        return rows, dict(zip(sums, values, strict=True))

    def digests(self, table: str, key: list[str], columns: list[str], every: int):
        """Arrow batches of key_digest, row_digest and their number; a row's is 0 but for one in `every` keys."""
        row = _digest(columns)
        sampled = row if every == 1 else f"case when key_digest % {every} = 0 then {row} else 0 end"
        query = f"select key_digest, {sampled} as row_digest from (select *, {_digest(key)} as key_digest from {table})"
        counted = f"select key_digest, row_digest, count(*) as number from ({query}) group by key_digest, row_digest"
        return self.connection.execute(counted).fetch_record_batch(100_000)

    def row(self, table: str, key: list[str], digest: int, columns: list[str]) -> dict[str, str | None]:
        """A row of a key's digest, its values as text; empty where there is none."""
        listed = ", ".join(f"cast({quoted(column)} as varchar)" for column in columns)
        query = f"select {listed} from {table} where {_digest(key)} = ? order by all limit 1"
        found = self.connection.execute(query, [digest]).fetchone()
        return dict(zip(columns, found, strict=True)) if found else {}


def open_side(settings: Settings, name: str) -> Side:
    """Open what a person names.

    Parameters
    ----------
    name
        A target; the path of a DuckDB file; the name of a publication of the settings' target, or
        ``TARGET:PUBLICATION``.

    Raises
    ------
    DuckbookError
        There is none, or it cannot be opened; the sentence says what can be named.
    """
    if name in TARGETS:
        return Side(name, warehouse.open_warehouse(of_target(settings, name), read_only=True))
    if name.endswith(".duckdb"):
        return Side(name, _file(settings, Path(name)))
    target, colon, run_id = name.rpartition(":")
    if colon and target not in TARGETS:
        raise DuckbookError(f"{name}: there is no target {target!r}; there are {', '.join(TARGETS)}.")
    try:
        found = publish.published(of_target(settings, target or settings.target), run_id=run_id)
    except DuckbookError as error:
        raise DuckbookError(
            f"{name} is no target ({', '.join(TARGETS)}), no file that ends in .duckdb, and no publication: {error}"
        ) from None
    return Side(name, found.connection, published=True)


def of_target(settings: Settings, target: str) -> Settings:
    """The settings with another target.

    Raises
    ------
    WarehouseError
        It is MotherDuck, and there is no token.
    """
    if target == "motherduck" and settings.motherduck_token is None:
        raise WarehouseError("motherduck needs a token: set MOTHERDUCK_TOKEN.")
    return settings.model_copy(update={"target": target})


def _file(settings: Settings, path: Path) -> duckdb.DuckDBPyConnection:
    import duckdb

    try:
        connection = duckdb.connect(str(path), read_only=True, config=warehouse.engine_config(settings))
    except duckdb.Error as error:
        raise WarehouseError(f"The file {path} cannot be read: {first_line(error)}.") from None
    connection.execute("set global timezone = 'UTC'")
    return connection


def _is_number(data_type: str) -> bool:
    return data_type.startswith(("DECIMAL", *NUMBERS, "DOUBLE", "FLOAT")) and not data_type.endswith("]")


def _sum(column: str, data_type: str) -> str:
    # A sum of floating-point numbers depends on their order, and so differs between two that are equal.
    return (
        f"sum(cast({quoted(column)} as decimal(38, 6)))"
        if data_type in ("DOUBLE", "FLOAT")
        else f"sum({quoted(column)})"
    )


def _digest(columns: list[str]) -> str:
    """MD5 and not DuckDB's own hash, which another version of DuckDB, such as MotherDuck's, may reckon otherwise."""
    values = ", ".join(f"coalesce(cast({quoted(column)} as varchar), chr(30))" for column in columns)
    return digest(f"concat_ws(chr(31), {values})")
