"""Two targets held against each other, table by table: columns, rows, the sum of every number, keys, and values.

Each side reckons a digest of every row, or of a sample of keys, and both are put beside each other in a DuckDB of ours:
a table is equal when every row of it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache

import yaml

from duckbook import publish, warehouse
from duckbook.rows import ROW_COLUMNS
from duckbook.settings import ROOT, Settings
from duckbook.sides import SCHEMAS, Side
from duckbook.tables import source_tables

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
        schemas = tuple(schema for schema in schemas if schema == publish.SCHEMA)
    found = []
    with closing(warehouse.engine(settings, closed=True)) as engine:
        for table in _tables(left, right, schemas):
            found.append(_compare_table(engine, left, right, table, sample))
            listener(found[-1])
    return found


def _tables(left: Side, right: Side, schemas: tuple[str, ...]) -> Iterator[str]:
    marts_only = left.published or right.published
    for table in sorted({*left.tables, *right.tables}, key=lambda t: (SCHEMAS.index(t.split(".")[0]), t)):
        schema, name = table.split(".")
        if schema in schemas and not (marts_only and name in publish.INTERNAL):
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
