"""Dirt on demand: what real sources have and clean generators lack, planted at a known rate and counted.

Which record is dirty, and how, is decided by its key, so that each landing of a record has the same dirt. No amount
of money is lost to it: what makes a record unreadable is done to a second copy of it, what changes a record leaves
its money alone.

==================  =============================================================================================
duplicate           the record comes twice in the same batch
broken_line         a copy of the record is cut off in the middle of its JSON
missing_key         a copy of the record has no key
number_as_text      a number stands in quotation marks
unknown_value       a word that is none of those expected stands where one of few is
untidy_name         blanks and capitals in a name
orphan_key          a foreign key refers to nothing
offset_timestamp    a moment is written in another time zone
late                the record arrives 31 to 45 days after what it tells; counted in each batch that holds it
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
"""Kinds of dirt by table. Postgres holds what its types let in; a review without a key is another review, and no
dirt."""

ORPHAN = 900_000_000
"""Added to a key, it refers to nothing."""

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
"""Kinds that add a second record and leave the first one as it is."""


class Dirt:
    """The dirt of one store.

    Parameters
    ----------
    randomness
        The streams of the store.
    share
        Share of the records of each table that are dirty; the kinds of a table are equally frequent.
    """

    def __init__(self, randomness: Randomness, share: float) -> None:
        self._randomness, self.share = randomness, share

    def kinds(self, table: str, key: np.ndarray) -> np.ndarray:
        """Index, in the table's `KINDS`, of the dirt of each record; -1 where it is clean."""
        known = KINDS.get(table, ())
        if not self.share or not known:
            return np.full(len(key), -1)
        bits = self._randomness.bits(f"dirt of {table}", key)
        dirty = part(bits, 0, 30) < self.share * 2**30
        return np.where(dirty, below(bits, len(known)), -1)

    def delay(self, table: str, key: np.ndarray) -> np.ndarray:
        """Seconds by which each record is late; 0 for nearly all."""
        kinds = self.kinds(table, key)
        late = kinds == KINDS[table].index("late")
        days = part(self._randomness.bits(f"delay of {table}", key), 0, 16) * 14 * season.DAY >> 16
        return np.where(late, 31 * season.DAY + days, 0)

    def of_lines(
        self, table: str, records: pa.Table, key: np.ndarray, as_json: Callable[[pa.Table], list[str]]
    ) -> tuple[pa.Table, list[str], Counter]:
        """Soil records that land as JSON.

        Parameters
        ----------
        as_json
            Writes records as one line of JSON each.

        Returns
        -------
        tuple
            The records that land as they are, the lines that land beside them, and the count of each kind.
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

    def of_rows(self, table: str, records: pa.Table, key: np.ndarray) -> tuple[pa.Table, Counter]:
        """Soil records that land as rows of Postgres: the rows to land, copies last, and the count of each kind."""
        kinds = self.kinds(table, key)
        if not (kinds >= 0).any():
            return records, Counter()
        names, counts = KINDS[table], Counter()
        copies = []
        for number, name in enumerate(names):
            hit = kinds == number
            if name == "duplicate":
                copies.append(records.filter(pa.array(hit)))
            elif name == "missing_key":
                copies.append(
                    _with(records.filter(pa.array(hit)), _KEY[table], lambda column: pc.if_else(False, column, None))
                )
            elif name == "unknown_value":
                mask, word = pa.array(hit), pa.scalar(_UNKNOWN[table])
                records = _with(records, _WORD[table], lambda c, m=mask, w=word: pc.if_else(m, w, c.cast(pa.string())))
            elif name == "orphan_key":
                hit &= records.column(_FOREIGN[table]).is_valid().to_numpy()
                mask = pa.array(hit)
                records = _with(records, _FOREIGN[table], lambda c, m=mask: pc.if_else(m, pc.add(c, ORPHAN), c))
            counts[name] += int(hit.sum())
        copies = [copy.cast(records.schema) for copy in copies if len(copy)]
        return pa.concat_tables([records, *copies]), +counts


def _index(table: str, kind: str) -> int:
    return KINDS[table].index(kind) if kind in KINDS[table] else -2


def _with(records: pa.Table, column: str, change: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> pa.Table:
    at = records.schema.get_field_index(column)
    return records.set_column(at, column, change(records.column(column)))


def _soil(table: str, kind: str, line: str, cut: int) -> str:
    """One line of JSON, soiled."""
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
    return _replace(line, _MOMENT[table], _abroad)


def _replace(line: str, column: str, change: Callable[[str], str]) -> str:
    """Change a column's value in a line, and nothing else."""
    pattern = rf'("{column}":)("(?:[^"\\]|\\.)*"|[^,}}]*)'
    return re.sub(pattern, lambda found: found[1] + change(found[2]), line, count=1)


def _abroad(value: str) -> str:
    """The same moment as a clock five hours behind UTC writes it."""
    return f'"{(datetime.fromisoformat(value[1:-1]) - timedelta(hours=5)).isoformat()}-05:00"'


def rows(counts: dict[tuple[str, str], Counter]) -> Sequence[dict]:
    """Counts by (table, where) as records of the truth table."""
    return [
        {"table": table, "where": where, "kind": kind, "records": number}
        for (table, where), found in sorted(counts.items())
        for kind, number in sorted(found.items())
    ]
