"""Compare two targets table by table: columns, row counts, sums of numbers, keys and values.

Each side computes a digest of every row, or of the rows of sampled keys. The digests are compared in a local DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterator
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
"""Integer types, whose sums are exact, as are those of DECIMAL. DOUBLE and FLOAT are summed as decimals."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison. As a context manager it closes its connection.

    Parameters
    ----------
    name
        Name as the user gave it.
    connection
        Connection by which its tables are read.
    published
        Whether it is a publication, which has only the marts.
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
        """``SCHEMA.TABLE`` → column → type, in the order of the columns. Views are included."""
        rows = self.connection.execute(
            "select table_schema || '.' || table_name, column_name, data_type from system.information_schema.columns "
            "where table_catalog = current_database() and list_contains(?, table_schema) "
            "and not starts_with(table_name, '_') order by table_schema, table_name, ordinal_position",
            [list(SCHEMAS)],
        ).fetchall()
        tables: dict[str, dict[str, str]] = {}
        for table, column, data_type in rows:
            tables.setdefault(table, {})[column] = data_type
        return tables

    def totals(self, table: str, columns: dict[str, str]) -> tuple[int, dict[str, str]]:
        """Return the row count of a table and the exact sum of each numeric column, as text."""
        sums = {column: _sum(column, data_type) for column, data_type in columns.items() if _is_number(data_type)}
        selected = ", ".join(["count(*)", *(f"cast({expression} as varchar)" for expression in sums.values())])
        rows, *values = self.connection.execute(f"select {selected} from {table}").fetchone()
        return rows, dict(zip(sums, values, strict=True))

    def digests(self, table: str, key: list[str], columns: list[str], every: int):
        """Return Arrow batches of key_digest, row_digest and number; row_digest is 0 except for one in `every` keys."""
        row = _digest(columns)
        sampled = row if every == 1 else f"case when key_digest % {every} = 0 then {row} else 0 end"
        query = f"select key_digest, {sampled} as row_digest from (select *, {_digest(key)} as key_digest from {table})"
        counted = f"select key_digest, row_digest, count(*) as number from ({query}) group by key_digest, row_digest"
        return self.connection.execute(counted).fetch_record_batch(100_000)

    def row(self, table: str, key: list[str], digest: int, columns: list[str]) -> dict[str, str | None]:
        """Return a row with this key digest, its values as text; empty if there is none."""
        listed = ", ".join(f"cast({quoted(column)} as varchar)" for column in columns)
        query = f"select {listed} from {table} where {_digest(key)} = ? order by all limit 1"
        values = self.connection.execute(query, [digest]).fetchone()
        return dict(zip(columns, values, strict=True)) if values else {}


def open_side(settings: Settings, name: str) -> Side:
    """Open one side of a comparison.

    Parameters
    ----------
    name
        A target, the path of a DuckDB file, the name of a publication of the settings' target, or
        ``TARGET:PUBLICATION``.

    Raises
    ------
    DuckbookError
        There is no such side, or it cannot be opened.
    """
    if name in TARGETS:
        return Side(name, warehouse.open_warehouse(with_target(settings, name), read_only=True))
    if name.endswith(".duckdb"):
        return Side(name, _file(settings, Path(name)))
    target, colon, run_id = name.rpartition(":")
    if colon and target not in TARGETS:
        raise DuckbookError(f"{name}: there is no target {target!r}; the targets are {', '.join(TARGETS)}.")
    try:
        published = publisher.published(with_target(settings, target or settings.target), run_id=run_id)
    except DuckbookError as error:
        raise DuckbookError(
            f"{name} is no target ({', '.join(TARGETS)}), no file that ends in .duckdb, and no publication: {error}"
        ) from None
    return Side(name, published.connection, published=True)


def with_target(settings: Settings, target: str) -> Settings:
    """Return the settings with another target.

    Raises
    ------
    WarehouseError
        The target is MotherDuck and there is no token.
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
    # A floating-point sum depends on the order of the rows, so equal tables could have different sums.
    return (
        f"sum(cast({quoted(column)} as decimal(38, 6)))"
        if data_type in ("DOUBLE", "FLOAT")
        else f"sum({quoted(column)})"
    )


def _digest(columns: list[str]) -> str:
    """Digest columns by MD5: DuckDB's own hash may differ between versions, such as MotherDuck's."""
    values = ", ".join(f"coalesce(cast({quoted(column)} as varchar), chr(30))" for column in columns)
    return digest(f"concat_ws(chr(31), {values})")


MOST_EXAMPLES = 3


@dataclass(frozen=True)
class Difference:
    """A value that differs, or a row that one side lacks: `column` is then empty and that side's value None."""

    key: str
    column: str
    left: str | None
    right: str | None


@dataclass(frozen=True)
class TableParity:
    """Comparison of one table.

    Parameters
    ----------
    rows
        Row counts, left and right; None if a side lacks the table.
    columns
        Column → its types, left and right, if they differ; None if a side lacks the column.
    sums
        Column → its sums, left and right, if they differ.
    only_left, only_right, changed
        Numbers of keys that one side lacks, and of keys whose rows differ.
    examples
        A few of the differences.
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
        """Whether the table is the same on both sides."""
        different = self.columns or self.sums or self.only_left or self.only_right or self.changed
        return self.rows[0] == self.rows[1] and not different

    @property
    def summary(self) -> str:
        """The differences in a few words."""
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
) -> list[TableParity]:
    """Compare the tables of two sides.

    Parameters
    ----------
    schemas
        Schemas to compare. Publications have only the marts.
    sample
        Approximate number of keys per table whose rows are compared; None for all. Keys, row counts and sums are
        always those of the whole table.
    """
    if left.published or right.published:
        schemas = tuple(schema for schema in schemas if schema == publisher.SCHEMA)
    with closing(warehouse.engine(settings, trusted=True)) as engine:
        return [_compare_table(engine, left, right, table, sample) for table in _tables(left, right, schemas)]


def _tables(left: Side, right: Side, schemas: tuple[str, ...]) -> Iterator[str]:
    marts_only = left.published or right.published
    for table in sorted({*left.tables, *right.tables}, key=lambda t: (SCHEMAS.index(t.split(".")[0]), t)):
        schema, name = table.split(".")
        if schema in schemas and not (marts_only and name in publisher.INTERNAL):
            yield table


def _compare_table(engine, left: Side, right: Side, table: str, sample: int | None) -> TableParity:
    types_left, types_right = left.tables.get(table), right.tables.get(table)
    if types_left is None or types_right is None:
        rows = tuple(side.totals(table, {})[0] if side.tables.get(table) else None for side in (left, right))
        return TableParity(table, rows, {}, {})
    names = dict.fromkeys([*types_left, *types_right])
    columns = {n: (types_left.get(n), types_right.get(n)) for n in names if types_left.get(n) != types_right.get(n)}
    shared = {name: data_type for name, data_type in types_left.items() if name in types_right}
    # A column of another type may not be numeric on the other side: compare its values, not its sum.
    same_type = {name: data_type for name, data_type in shared.items() if name not in columns}
    (rows_left, sums_left), (rows_right, sums_right) = (side.totals(table, same_type) for side in (left, right))
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
    """Count keys that are only left, only right, or have different rows; return a few key digests of each."""
    engine.execute(
        """
        create or replace temp table d as
        with
        different as (
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
            end as kind
        from (select distinct key_digest from different)
        """
    )
    counts = dict(engine.execute("select kind, count(*) from d group by kind").fetchall())
    numbered = "row_number() over (partition by kind order by key_digest)"
    few = f"select key_digest from d qualify {numbered} <= {MOST_EXAMPLES} order by kind, key_digest"
    digests = [digest for (digest,) in engine.execute(few).fetchall()]
    return tuple(counts.get(kind, 0) for kind in ("left", "right", "changed")), digests


def _examples(left: Side, right: Side, table: str, key: list[str], columns: list[str], digest: int):
    row_left, row_right = (side.row(table, key, digest, columns) for side in (left, right))
    shown = ", ".join(f"{column} {(row_left or row_right).get(column)}" for column in key[:4])
    if not row_left or not row_right:
        yield Difference(shown, "", "a row" if row_left else None, "a row" if row_right else None)
        return
    for column in columns:
        if row_left[column] != row_right[column]:
            yield Difference(shown, column, row_left[column], row_right[column])


def _key(table: str) -> tuple[str, ...]:
    """Return the columns that identify a row: batch and row number in raw, the grain of a model; empty if unknown."""
    schema, name = table.split(".")
    if schema == "ecom_raw" and name in source_tables():
        return tuple(column for column in ROW_COLUMNS if column in ("_batch_id", "_row_number"))
    return _grains().get(name, ())


@cache
def _grains() -> dict[str, tuple[str, ...]]:
    """Model → the columns of its grain, from its YAML."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    grains = {}
    for file in sorted(path for kind in ("models", "seeds") for path in (ROOT / "dbt" / kind).rglob("*.yml")):
        properties = yaml.load(file.read_text("utf-8"), Loader=loader) or {}
        for model in (*properties.get("models", ()), *properties.get("seeds", ())):
            meta = model.get("config", {}).get("meta", model.get("meta", {}))
            grains[model["name"]] = tuple(meta.get("grain", ()))
    return grains


def all_equal(tables: list[TableParity]) -> bool:
    """Whether there are tables and all of them are equal."""
    return bool(tables) and all(table.equal for table in tables)
