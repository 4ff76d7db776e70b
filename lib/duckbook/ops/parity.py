"""Two targets held against each other, table by table: columns, rows, the sum of every number, keys, and values.

Each side reckons a digest of every row, or of a sample of keys, and both are put beside each other in a DuckDB of ours:
a table is equal when every row of it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import yaml

from duckbook.backends import warehouse
from duckbook.errors import DuckbookError, WarehouseError, first_line
from duckbook.ingest.rows import ROW_COLUMNS
from duckbook.publish import publisher
from duckbook.settings import ROOT, Settings
from duckbook.source_tables import source_tables
from duckbook.sql import digest, quoted

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
        found = publisher.published(of_target(settings, target or settings.target), run_id=run_id)
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


MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Difference:
    """A value that differs, or a row that one side lacks (`column` is then empty and the value of that side None)."""

    key: str
    column: str
    left: str | None
    right: str | None


@dataclass(frozen=True)
class TableParity:
    """A table on two sides.

    Parameters
    ----------
    rows
        Left and right; None where a side lacks the table.
    columns
        Column → its types, left and right, of those that differ; None where a side lacks it.
    sums
        Column → its sums, left and right, of those that differ.
    only_left, only_right, changed
        Keys that one side lacks, and keys whose rows differ.
    examples
        A few of them.
    """

    table: str
    rows: tuple[int | None, int | None]
    columns: dict[str, tuple[str | None, str | None]]
    sums: dict[str, tuple[str | None, str | None]]
    only_left: int = 0
    only_right: int = 0
    changed: int = 0
    examples: tuple[Difference, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        different = self.columns or self.sums or self.only_left or self.only_right or self.changed
        return self.rows[0] == self.rows[1] and not different

    @property
    def told(self) -> str:
        """What differs, in a few words."""
        if None in self.rows:
            return f"missing on the {'left' if self.rows[0] is None else 'right'}"
        parts = [f"column {name}: {left or 'none'}, {right or 'none'}" for name, (left, right) in self.columns.items()]
        parts += [f"sum of {name}: {left}, {right}" for name, (left, right) in self.sums.items()]
        counts = ((self.only_left, "only left"), (self.only_right, "only right"), (self.changed, "with other values"))
        return "; ".join(parts + [f"{count:,} keys {what}" for count, what in counts if count]) or "equal"


def compare(
    settings: Settings,
    left: Side,
    right: Side,
    schemas: tuple[str, ...] = SCHEMAS,
    sample: int | None = None,
    listener: Callable[[TableParity], object] = lambda _: None,
) -> list[TableParity]:
    """Hold two sides against each other.

    Parameters
    ----------
    schemas
        Which schemas; of a publication the marts alone count.
    sample
        About how many keys of a table have their rows looked at; None: all of them. Keys, rows, and sums are always
        those of the whole table.
    listener
        Is called with each table as it is done.
    """
    if left.published or right.published:
        schemas = tuple(schema for schema in schemas if schema == publisher.SCHEMA)
    found = []
    with closing(warehouse.engine(settings, trusted=True)) as engine:
        for table in _tables(left, right, schemas):
            found.append(_compare_table(engine, left, right, table, sample))
            listener(found[-1])
    return found


def _tables(left: Side, right: Side, schemas: tuple[str, ...]) -> Iterator[str]:
    marts_only = left.published or right.published
    for table in sorted({*left.tables, *right.tables}, key=lambda t: (SCHEMAS.index(t.split(".")[0]), t)):
        schema, name = table.split(".")
        if schema in schemas and not (marts_only and name in publisher.INTERNAL):
            yield table


def _compare_table(engine, left: Side, right: Side, table: str, sample: int | None) -> TableParity:
    of_left, of_right = left.tables.get(table), right.tables.get(table)
    if of_left is None or of_right is None:
        rows = tuple(side.totals(table, {})[0] if side.tables.get(table) else None for side in (left, right))
        return TableParity(table, rows, {}, {})
    names = dict.fromkeys([*of_left, *of_right])
    columns = {n: (of_left.get(n), of_right.get(n)) for n in names if of_left.get(n) != of_right.get(n)}
    shared = {name: data_type for name, data_type in of_left.items() if name in of_right}
    # Of another type on the other side, a column may be no number there; its values are compared all the same.
    alike = {name: data_type for name, data_type in shared.items() if name not in columns}
    (rows_left, sums_left), (rows_right, sums_right) = (side.totals(table, alike) for side in (left, right))
    sums = {n: (sums_left[n], sums_right[n]) for n in sums_left if sums_left[n] != sums_right[n]}
    key = [column for column in _key(table) if column in shared] or list(shared)
    every = 1 if sample is None else max(1, max(rows_left, rows_right) // max(sample, 1))
    for name, side in (("l", left), ("r", right)):
        batches = side.digests(table, key, list(shared), every)
        engine.register("batches", batches)
        engine.execute(f"create or replace temp table {name} as select * from batches")
        engine.unregister("batches")
    counts, digests = _differences(engine)
    examples = tuple(d for digest in digests for d in _examples(left, right, table, key, list(shared), digest))
    return TableParity(table, (rows_left, rows_right), columns, sums, *counts, examples)


def _differences(engine) -> tuple[tuple[int, int, int], list[int]]:
    """How many keys are only left, only right, or have other rows; and the digests of a few of each."""
    engine.execute(
        """
        create or replace temp table d as
        with
        unlike as (
            select coalesce(l.key_digest, r.key_digest) as key_digest
            from l
            full outer join r
                on l.key_digest = r.key_digest and l.row_digest = r.row_digest and l.number = r.number
            where l.key_digest is null or r.key_digest is null
        )
        select
            key_digest,
            case
                when key_digest not in (select key_digest from r) then 'left'
                when key_digest not in (select key_digest from l) then 'right'
                else 'changed'
            end as what
        from (select distinct key_digest from unlike)
        """
    )
    counted = dict(engine.execute("select what, count(*) from d group by what").fetchall())
    numbered = "row_number() over (partition by what order by key_digest)"
    few = f"select key_digest from d qualify {numbered} <= {MOST_EXAMPLES} order by what, key_digest"
    digests = [digest for (digest,) in engine.execute(few).fetchall()]
    return tuple(counted.get(what, 0) for what in ("left", "right", "changed")), digests


def _examples(left: Side, right: Side, table: str, key: list[str], columns: list[str], digest: int):
    mine, other = (side.row(table, key, digest, columns) for side in (left, right))
    shown = ", ".join(f"{column} {(mine or other).get(column)}" for column in key[:4])
    if not mine or not other:
        yield Difference(shown, "", "a row" if mine else None, "a row" if other else None)
        return
    for column in columns:
        if mine[column] != other[column]:
            yield Difference(shown, column, mine[column], other[column])


def _key(table: str) -> tuple[str, ...]:
    """What tells the rows of a table from one another: the grain of a model, the place of a row of raw; else all."""
    schema, name = table.split(".")
    if schema == "ecom_raw" and name in source_tables():
        return tuple(column for column in ROW_COLUMNS if column in ("_batch_id", "_row_number"))
    return _grains().get(name, ())


@cache
def _grains() -> dict[str, tuple[str, ...]]:
    """Model → the columns of its grain, as the YAML beside it says."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = {}
    for file in sorted(path for kind in ("models", "seeds") for path in (ROOT / "dbt" / kind).rglob("*.yml")):
        told = yaml.load(file.read_text("utf-8"), Loader=loader) or {}
        for model in (*told.get("models", ()), *told.get("seeds", ())):
            meta = model.get("config", {}).get("meta", model.get("meta", {}))
            found[model["name"]] = tuple(meta.get("grain", ()))
    return found


def holds(found: list[TableParity]) -> bool:
    """Whether two sides are equal: every table is, and there is one."""
    return bool(found) and all(table.equal for table in found)
