"""Planted data errors ("dirt"), at a known rate and counted.

The key of a record decides its dirt, so that it is the same in each landing. Dirt changes no amount of money: the kinds
that make a record unreadable apply to a copy of it, and the others leave its amounts alone.

==================  =============================================================================================
duplicate           the record is in the batch twice
broken_line         a copy of the record has truncated JSON
missing_key         a copy of the record has no key
number_as_text      a number is in quotation marks
unknown_value       a category has an unexpected value
untidy_name         a name has extra blanks and capitals
orphan_key          a foreign key refers to nothing
offset_timestamp    a timestamp has another time zone
late                the record lands 31 to 45 days late; counted in each batch that holds it
==================  =============================================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.generate.shop import season
from duckbook.generate.shop.randomness import Randomness, below, part

KINDS: dict[str, tuple[str, ...]] = {
    "customers": (
        "duplicate", "broken_line", "missing_key", "number_as_text", "unknown_value", "untidy_name", "offset_timestamp",
    ),
    "products": (
        "duplicate", "broken_line", "missing_key", "number_as_text", "orphan_key", "untidy_name", "offset_timestamp",
    ),
    "orders": (
        "duplicate", "broken_line", "missing_key", "number_as_text", "unknown_value", "orphan_key", "offset_timestamp",
        "late",
    ),
    "reviews": ("duplicate", "broken_line", "number_as_text", "orphan_key", "offset_timestamp", "late"),
    "order_items": ("duplicate", "missing_key", "orphan_key"),
    "interactions": ("duplicate", "missing_key", "unknown_value", "orphan_key"),
}  # fmt: skip
"""Kinds of dirt by table. Postgres tables have only what their types allow. Reviews need no key, so none is missing."""

ORPHAN = 900_000_000
"""Offset that makes a foreign key refer to nothing."""

_KEY = {"customers": "customer_id", "products": "product_id", "orders": "order_id", "order_items": "order_item_id",
        "interactions": "event_id"}  # fmt: skip
_NUMBER = {"customers": "annual_income", "products": "base_price", "orders": "total_amount", "reviews": "review_score"}
_WORD = {"customers": "marital_status", "orders": "payment_method", "interactions": "event_type"}
_NAME = {"customers": "last_name", "products": "brand"}
_FOREIGN = {"products": "subcategory_id", "orders": "customer_id", "reviews": "product_id", "order_items": "product_id",
            "interactions": "product_id"}  # fmt: skip
_MOMENT = {"customers": "signup_date", "products": "created_at", "orders": "order_date", "reviews": "created_at"}

_UNKNOWN = {"customers": "it's complicated", "orders": "barter", "interactions": "hover"}

_COPIED = ("duplicate", "broken_line", "missing_key")
"""Kinds that add a copy and leave the record alone."""


class Dirt:
    """Dirt of one shop.

    Parameters
    ----------
    randomness
        Random streams of the shop.
    share
        Share of dirty records per table. All kinds of a table are equally frequent.
    """

    def __init__(self, randomness: Randomness, share: float) -> None:
        self._randomness, self.share = randomness, share

    def kinds(self, table: str, key: np.ndarray) -> np.ndarray:
        """Index into the table's `KINDS` for each record, or -1 if it is clean."""
        table_kinds = KINDS.get(table, ())
        if not self.share or not table_kinds:
            return np.full(len(key), -1)
        bits = self._randomness.bits(f"dirt of {table}", key)
        dirty = part(bits, 0, 30) < self.share * 2**30
        return np.where(dirty, below(bits, len(table_kinds)), -1)

    def delay(self, table: str, key: np.ndarray) -> np.ndarray:
        """Seconds by which each record is late; mostly 0."""
        kinds = self.kinds(table, key)
        late = kinds == KINDS[table].index("late")
        days = part(self._randomness.bits(f"delay of {table}", key), 0, 16) * 14 * season.DAY >> 16
        return np.where(late, 31 * season.DAY + days, 0)

    def soil_lines(
        self, table: str, records: pa.Table, key: np.ndarray, as_json: Callable[[pa.Table], list[str]]
    ) -> tuple[pa.Table, list[str], Counter]:
        """Make records dirty that land as JSON.

        Parameters
        ----------
        as_json
            Converts records to one line of JSON each.

        Returns
        -------
        tuple
            The unchanged records, the lines that land next to them, and the count of each kind.
        """
        kinds = self.kinds(table, key)
        late = kinds == _index(table, "late")
        dirty = np.flatnonzero((kinds >= 0) & ~late)
        names = [KINDS[table][kind] for kind in kinds[dirty]]
        counts = +(Counter(names) + Counter(late=int(late.sum())))
        if not len(dirty):
            return records, [], counts
        cuts = part(self._randomness.bits(f"cut of {table}", key[dirty]), 0, 16)
        lines = as_json(records.take(pa.array(dirty)))
        soiled = [_soil(table, name, line, cut) for name, line, cut in zip(names, lines, cuts, strict=True)]
        clean = np.ones(len(records), dtype=bool)
        clean[dirty[[name not in _COPIED for name in names]]] = False
        return records.filter(pa.array(clean)), soiled, counts

    def soil_rows(self, table: str, records: pa.Table, key: np.ndarray) -> tuple[pa.Table, Counter]:
        """Make Postgres rows dirty, and return the rows, with copies last, and the count of each kind."""
        kinds = self.kinds(table, key)
        if not (kinds >= 0).any():
            return records, Counter()
        counts: Counter[str] = Counter()
        copies = []
        for number, name in enumerate(KINDS[table]):
            affected = kinds == number
            if name == "duplicate":
                copies.append(records.filter(pa.array(affected)))
            elif name == "missing_key":
                copied, key_name = records.filter(pa.array(affected)), _KEY[table]
                copies.append(_replace_column(copied, key_name, pc.if_else(False, copied.column(key_name), None)))
            elif name == "unknown_value":
                words, word = records.column(_WORD[table]).cast(pa.string()), pa.scalar(_UNKNOWN[table])
                records = _replace_column(records, _WORD[table], pc.if_else(pa.array(affected), word, words))
            elif name == "orphan_key":
                foreign = records.column(_FOREIGN[table])
                affected &= foreign.is_valid().to_numpy()
                orphaned = pc.if_else(pa.array(affected), pc.add(foreign, ORPHAN), foreign)
                records = _replace_column(records, _FOREIGN[table], orphaned)
            counts[name] += int(affected.sum())
        copies = [copy.cast(records.schema) for copy in copies if len(copy)]
        return pa.concat_tables([records, *copies]), +counts


def _index(table: str, kind: str) -> int:
    return KINDS[table].index(kind) if kind in KINDS[table] else -2


def _replace_column(records: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    return records.set_column(records.schema.get_field_index(column), column, values)


def _soil(table: str, kind: str, line: str, cut: int) -> str:
    """Apply one kind of dirt to a line of JSON."""
    if kind == "duplicate":
        return line
    if kind == "broken_line":
        return line[: len(line) * (40 + cut % 50) // 100]
    if kind == "missing_key":
        return _replace(line, _KEY[table], lambda value: "null")
    if kind == "number_as_text":
        return _replace(line, _NUMBER[table], lambda value: f'"{value}"')
    if kind == "unknown_value":
        return _replace(line, _WORD[table], lambda value: f'"{_UNKNOWN[table]}"')
    if kind == "untidy_name":
        return _replace(line, _NAME[table], lambda value: f'"  {value[1:-1].upper()} "')
    if kind == "orphan_key":
        return _replace(line, _FOREIGN[table], lambda value: str(int(value) + ORPHAN))
    return _replace(line, _MOMENT[table], _with_offset)


def _replace(line: str, column: str, change: Callable[[str], str]) -> str:
    """Change the value of one column in a line of JSON."""
    pattern = rf'("{column}":)("(?:[^"\\]|\\.)*"|[^,}}]*)'
    return re.sub(pattern, lambda match: match[1] + change(match[2]), line, count=1)


def _with_offset(value: str) -> str:
    """Rewrite a UTC timestamp with the offset -05:00."""
    return f'"{(datetime.fromisoformat(value[1:-1]) - timedelta(hours=5)).isoformat()}-05:00"'


def count_records(counts: dict[tuple[str, str], Counter]) -> Sequence[dict]:
    """Convert counts by (table, where) to records of the truth table."""
    return [
        {"table": table, "where": where, "kind": kind, "records": number}
        for (table, where), match in sorted(counts.items())
        for kind, number in sorted(match.items())
    ]
