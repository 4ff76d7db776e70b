"""What staging makes of the text of a raw row, as SQL: its typed values, and why a row is set aside.

In a run the macros of dbt do this (macros/casts.sql, macros/versions.sql); tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from duckbook.ingest.rows import key
from duckbook.source_tables import SourceTable, cast_to
from duckbook.sql import literal, quoted


@dataclass(frozen=True)
class Fault:
    """Something that a row may be set aside for.

    Attributes
    ----------
    column, kind
        The column, or the product of two, and the type that it is not of; of a row without a key, the empty text.
    condition
        Whether a row has it, as SQL.
    example
        Expression of the text at fault.
    """

    column: str
    kind: str
    condition: str
    example: str

    @property
    def what(self) -> str:
        """The fault in words."""
        return f"{self.column} is no {self.kind}" if self.column else "the record has no key"


def text(name: str) -> str:
    """A column as text, null where it is blank."""
    return f"nullif(trim({quoted(name)}), '')"


def typed(table: SourceTable, columns: Collection[str], name: str) -> str:
    """A column as staging casts it; null where the file lacks it, text where nobody defined it."""
    if name not in columns:
        return "null"
    column = next((c for c in table.columns if c.name == name), None)
    cast = cast_to(column).format(text(name)) if column else ""
    return f"({cast or text(name)})"


def faults(table: SourceTable, columns: Collection[str]) -> Iterator[Fault]:
    """What staging sets a row of these columns aside for."""
    if not table.derived_key:
        yield Fault("", "", f"({key(table, columns)}) is null", "''")
    for column in table.columns:
        if column.name in columns and cast_to(column):
            cast = typed(table, columns, column.name)
            condition = f"{text(column.name)} is not null and {cast} is null"
            yield Fault(column.name, column.data_type, condition, quoted(column.name))
    # Where there is no total, quantity times unit price stands for it, and has to fit it.
    if table.name == "order_items" and {"quantity", "unit_price"} <= set(columns):
        (kind,) = (column.data_type for column in table.columns if column.name == "total_price")
        amount = f"{typed(table, columns, 'quantity')}::bigint * {typed(table, columns, 'unit_price')}"
        total = text("total_price") if "total_price" in columns else "null"
        yield Fault(
            "quantity x unit_price",
            kind,
            f"{total} is null and {amount} is not null and try_cast({amount} as {kind}) is null",
            "concat_ws(' x ', quantity, unit_price)",
        )


def rejection(table: SourceTable, columns: Collection[str]) -> str:
    """Why a row is set aside, in the words of staging; null for one that is not."""
    keyless, told = "false", []
    for fault in faults(table, columns):
        if not fault.column:
            keyless = fault.condition
            continue
        ending = f"' is not {'an' if fault.kind == 'integer' else 'a'} {fault.kind}"
        named = literal(f"{fault.column}: '")
        told.append(f"case when {fault.condition} then {named} || left({fault.example}, 80) || {literal(ending)} end")
    why = f"nullif(concat_ws('; ', {', '.join(told)}), '')" if told else "null"
    nameless = literal(f"{', '.join(table.key)}: the record has no key")
    return f"case when {keyless} then {nameless} else {why} end"
