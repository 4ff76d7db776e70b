"""Compare two targets table by table: columns, row counts, sums of numbers, keys and values.

Views name their database, so two targets cannot share an engine. Each computes the digests of its keys and rows, and a
local DuckDB counts them: equal rows of both sides cancel out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

import yaml

from duckbook.backends import warehouse
from duckbook.errors import DuckbookError, WarehouseError, first_line
from duckbook.publish import publisher
from duckbook.publish.publication import SCHEMA
from duckbook.settings import ROOT, Settings
from duckbook.source_tables import source_tables
from duckbook.sql import digest, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    Sides = tuple[DuckDBPyConnection, DuckDBPyConnection]
    Counts = tuple[int, int, int]

SCHEMAS = ("ecom_raw", "ecom_staging", "ecom_intermediate", "ecom_marts")

TARGETS = get_args(Settings.model_fields["target"].annotation)

MOST_EXAMPLES = 3
"""Examples per table and kind of difference."""


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


def open_side(settings: Settings, name: str) -> DuckDBPyConnection:
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
    import duckdb

    if name in TARGETS:
        return warehouse.open_warehouse(with_target(settings, name), read_only=True)
    if name.endswith(".duckdb"):
        try:
            connection = duckdb.connect(name, read_only=True, config={**warehouse.engine_config(settings)})
        except duckdb.Error as error:
            raise WarehouseError(f"The file {name} cannot be read: {first_line(error)}.") from None
        connection.execute("set global timezone = 'UTC'")
        return connection
    target, colon, run_id = name.rpartition(":")
    if colon and target not in TARGETS:
        raise DuckbookError(f"{name}: there is no target {target!r}; the targets are {', '.join(TARGETS)}.")
    try:
        return publisher.published(with_target(settings, target or settings.target), run_id=run_id).connection
    except DuckbookError as error:
        raise DuckbookError(
            f"{name} is no target ({', '.join(TARGETS)}), no file that ends in .duckdb, and no publication: {error}"
        ) from None


@dataclass(frozen=True)
class Difference:
    """A value that differs, or the number of a key's rows: `column` is then empty."""

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
    columns, sums
        Column → its types, or its sums, left and right, if they differ; None if a side lacks the column.
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
        return self.summary == "equal"

    @property
    def summary(self) -> str:
        """The differences in a few words."""
        if None in self.rows:
            return f"missing on the {'left' if self.rows[0] is None else 'right'}"
        parts = [f"column {name}: {left or 'none'}, {right or 'none'}" for name, (left, right) in self.columns.items()]
        parts += [f"sum of {name}: {left}, {right}" for name, (left, right) in self.sums.items()]
        counts = ((self.only_left, "only left"), (self.only_right, "only right"), (self.changed, "with other values"))
        return "; ".join(parts + [f"{count:,} keys {what}" for count, what in counts if count]) or "equal"


def all_equal(tables: list[TableParity]) -> bool:
    """Whether there are tables and all of them are equal."""
    return bool(tables) and all(table.equal for table in tables)


def compare(
    settings: Settings,
    left: DuckDBPyConnection,
    right: DuckDBPyConnection,
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
    (database_left, tables_left), (database_right, tables_right) = _tables(left), _tables(right)
    names = [table.split(".") for table in {*tables_left, *tables_right}]
    if "memory" in (database_left, database_right):  # A publication is a set of views.
        names = [n for n in names if n[0] == SCHEMA and n[1] not in publisher.INTERNAL]
    chosen = sorted((SCHEMAS.index(schema), f"{schema}.{name}") for schema, name in names if schema in schemas)
    with closing(warehouse.engine(settings, trusted=True)) as engine:
        return [
            _compare_table(engine, (left, right), table, (tables_left.get(table), tables_right.get(table)), sample)
            for _, table in chosen
        ]


def _tables(side: DuckDBPyConnection) -> tuple[str, dict[str, dict[str, str]]]:
    """Return the database, and ``SCHEMA.TABLE`` → column → type. Views are included."""
    lists = ", ".join(f"list({name} order by ordinal_position)" for name in ("column_name", "data_type"))
    query = (
        f"select table_schema || '.' || table_name, map({lists}) from system.information_schema.columns "
        "where table_catalog = current_database() and list_contains(?, table_schema) "
        "and not starts_with(table_name, '_') group by all"
    )
    [(database,)] = side.execute("select current_database()").fetchall()
    return database, dict(side.execute(query, [list(SCHEMAS)]).fetchall())


def _compare_table(engine: DuckDBPyConnection, sides: Sides, table: str, types, sample: int | None) -> TableParity:
    if None in types:
        rows = tuple(kinds and _totals(side, table, [])[0] for side, kinds in zip(sides, types, strict=True))
        return TableParity(table, rows, {}, {})
    left, right = types
    columns = {name: (left.get(name), right.get(name)) for name in {**left, **right}}
    shared = [name for name in left if name in right]
    # A column of another type may not be numeric on the other side: compare its values, not its sum.
    alike = [name for name in shared if left[name] == right[name]]
    numbers = {name: expression for name in alike if (expression := _sum(name, left[name]))}
    (rows_left, *sums_left), (rows_right, *sums_right) = (_totals(side, table, numbers.values()) for side in sides)
    sums = dict(zip(numbers, zip(sums_left, sums_right, strict=True), strict=True))
    key = [name for name in _key(table) if name in shared] or shared
    every = max(1, max(rows_left, rows_right) // sample) if sample else 1
    counts, keys = _count_differences(engine, *(_digests(side, table, key, shared, every) for side in sides))
    return TableParity(
        table,
        (rows_left, rows_right),
        {name: pair for name, pair in columns.items() if pair[0] != pair[1]},
        {name: pair for name, pair in sums.items() if pair[0] != pair[1]},
        *counts,
        tuple(_examples(sides, table, key, shared, keys)) if keys else (),
    )


def _sum(column: str, data_type: str) -> str | None:
    """The exact sum of a numeric column; None for another type."""
    if data_type in ("DOUBLE", "FLOAT"):
        # A floating-point sum depends on the order of the rows, so equal tables could have different sums.
        return f"sum(cast({quoted(column)} as decimal(38, 6)))"
    return f"sum({quoted(column)})" if re.fullmatch(r"DECIMAL\(.*\)|U?[A-Z]*INT(EGER)?", data_type) else None


def _totals(side: DuckDBPyConnection, table: str, sums: Iterable[str]) -> tuple[Any, ...]:
    """The row count of a table, and its sums as text."""
    selected = ", ".join(["count(*)", *(f"cast({expression} as varchar)" for expression in sums)])
    return tuple(side.execute(f"select {selected} from {table}").fetchall()[0])


def _digest(columns: list[str]) -> str:
    """Digest columns by MD5: DuckDB's own hash may differ between versions, such as MotherDuck's."""
    values = ", ".join(f"coalesce(cast({quoted(column)} as varchar), chr(30))" for column in columns)
    return digest(f"concat_ws(chr(31), {values})")


def _digests(side: DuckDBPyConnection, table: str, key: list[str], columns: list[str], every: int) -> object:
    """Stream key_digest and row_digest of each row; row_digest is 0 except for one in `every` keys."""
    sampled = f"case when key_digest % {every} = 0 then {_digest(columns)} else 0 end as row_digest"
    query = f"select key_digest, {sampled} from (select *, {_digest(key)} as key_digest from {table})"
    return side.execute(query).fetch_record_batch(100_000)


def _count_differences(engine: DuckDBPyConnection, left: object, right: object) -> tuple[Counts, list[tuple[Any, ...]]]:
    """Count keys that are only left, only right, or have other rows; return a few of each with their row counts."""
    engine.register("l", left)
    engine.register("r", right)
    engine.execute(
        """
        create or replace temp table d as
        select
            key_digest,
            count(*) filter (side = 1) as lefts,
            count(*) filter (side = -1) as rights,
            case when rights = 0 then 'left' when lefts = 0 then 'right' else 'both' end as found
        from (select *, 1 as side from l union all select *, -1 as side from r)
        group by key_digest
        having lefts != rights or sum(side * cast(row_digest as hugeint)) != 0
        """
    )
    counts = ", ".join(f"count(*) filter (found = '{found}')" for found in ("left", "right", "both"))
    number = "row_number() over (partition by found order by key_digest)"
    few = f"select key_digest, lefts, rights from d qualify {number} <= {MOST_EXAMPLES} order by found, key_digest"
    [(left_only, right_only, changed)] = engine.execute(f"select {counts} from d").fetchall()
    return (left_only, right_only, changed), engine.execute(few).fetchall()


def _examples(sides: Sides, table: str, key: list[str], columns: list[str], keys: list[tuple]) -> Iterator[Difference]:
    listed = ", ".join(f"cast({quoted(column)} as varchar)" for column in columns)
    chosen = f"select {_digest(key)} as key_digest, {listed} from {table} where list_contains(?::ubigint[], key_digest)"
    first, rows = f"select distinct on (key_digest) * from ({chosen}) order by all", []
    for side in sides:
        found = side.execute(first, [[number for number, *_ in keys]]).fetchall()
        rows.append({number: dict(zip(columns, values, strict=True)) for number, *values in found})
    for number, *counts in keys:
        left, right = (found.get(number, {}) for found in rows)
        shown = ", ".join(f"{column} {(left or right).get(column)}" for column in key[:4])
        if counts[0] != counts[1]:
            yield Difference(shown, "", *(f"{n:,} row{'s' * (n > 1)}" if n else None for n in counts))
        else:
            yield from (Difference(shown, c, left[c], right[c]) for c in columns if left[c] != right[c])


def _key(table: str) -> list[str]:
    """Return the columns that identify a row: batch and row number in raw, the grain of a model; empty if unknown."""
    schema, name = table.split(".")
    if schema == "ecom_raw" and name in source_tables():
        return ["_batch_id", "_row_number"]
    return _grains().get(name, [])


@cache
def _grains() -> dict[str, list[str]]:
    """Model → the columns of its grain, from its YAML."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    files = [file for kind in ("models", "seeds") for file in (ROOT / "dbt" / kind).rglob("*.yml")]
    declared = [yaml.load(file.read_text("utf-8"), Loader=loader) or {} for file in files]
    models = [model for content in declared for kind in ("models", "seeds") for model in content.get(kind, ())]
    return {model["name"]: model.get("config", {}).get("meta", {}).get("grain", []) for model in models}
