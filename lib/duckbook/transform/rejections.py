"""SQL expressions for the typed values of a raw row and the reason why it is quarantined.

In a run, dbt's macro `rejection` (macros/versions.sql) does this; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from duckbook.ingest.rows import key
from duckbook.source_tables import SourceTable, cast
from duckbook.sql import literal, quoted


@dataclass(frozen=True)
class Fault:
    """A reason to quarantine a row.

    Attributes
    ----------
    column, kind
        The column, or a product of two, and the type that its text cannot be cast to; empty for a missing key.
    condition
        SQL condition of the rows with this fault.
    example
        SQL expression of the failing text.
    """

    column: str
    kind: str
    condition: str
    example: str

    @property
    def description(self) -> str:
        """The fault in words."""
        return f"{self.column} {self.mismatch}" if self.column else "the record has no key"

    @property
    def mismatch(self) -> str:
        """The predicate ``is not a TYPE``."""
        return f"is not {'an' if self.kind == 'integer' else 'a'} {self.kind}"


def typed(table: SourceTable, columns: Collection[str], name: str) -> str:
    """A column as staging casts it; null if the file lacks it, text if the source table does not declare it."""
    if name not in columns:
        return "null"
    types = {column.name: column.data_type for column in table.columns}
    return f"({cast(quoted(name), types.get(name, 'varchar'))})"


def _text(name: str) -> str:
    return cast(quoted(name), "varchar")


def faults(table: SourceTable, columns: Collection[str]) -> Iterator[Fault]:
    """Yield the reasons why staging quarantines rows with these columns."""
    if not table.derived_key:
        yield Fault("", "", f"({key(table, columns)}) is null", "''")
    for column in table.columns:
        if column.name in columns and column.data_type != "varchar":
            condition = f"{_text(column.name)} is not null and {typed(table, columns, column.name)} is null"
            yield Fault(column.name, column.data_type, condition, quoted(column.name))
    # Without a total, staging uses quantity times unit price, which must fit its type.
    if table.name == "order_items" and {"quantity", "unit_price"} <= set(columns):
        (kind,) = (column.data_type for column in table.columns if column.name == "total_price")
        amount = f"{typed(table, columns, 'quantity')}::bigint * {typed(table, columns, 'unit_price')}"
        total = _text("total_price") if "total_price" in columns else "null"
        yield Fault(
            "quantity x unit_price",
            kind,
            f"{total} is null and {amount} is not null and try_cast({amount} as {kind}) is null",
            "concat_ws(' x ', quantity, unit_price)",
        )


def rejection(table: SourceTable, columns: Collection[str]) -> str:
    """The reason why a row is quarantined, as staging words it; null if it is not."""
    keyless, reasons = "false", []
    for fault in faults(table, columns):
        if not fault.column:
            keyless = fault.condition
            continue
        start, end = literal(f"{fault.column}: '"), literal(f"' {fault.mismatch}")
        reasons.append(f"case when {fault.condition} then {start} || left({fault.example}, 80) || {end} end")
    reason = f"nullif(concat_ws('; ', {', '.join(reasons)}), '')" if reasons else "null"
    without_key = literal(f"{', '.join(table.key)}: the record has no key")
    return f"case when {keyless} then {without_key} else {reason} end"
