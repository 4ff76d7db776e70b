"""Which record of a key counts, and from when to when each did."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from books.landed import Batch
from books.typed import KEYS, Unreadable, record

FIRST, LAST = datetime(1900, 1, 1), datetime(9999, 12, 31)

ALWAYS = {"version": 1, "valid_from": FIRST, "valid_to": LAST, "is_current": True}
"""The span of a member's only version."""

HISTORIES = ("customers", "products")
"""Tables whose records hold from a time on, and have a history."""

UNTRACKED = {"last_login", "stock_quantity", "rating", "review_count", "updated_at"}
"""What changes daily makes no version."""


@dataclass(frozen=True)
class Landed:
    """One sound record, with its key and its place in time: that of its batch, and its line in it."""

    key: tuple
    values: dict
    day: datetime
    place: tuple

    @property
    def holds_from(self) -> datetime:
        """The source's own time of the change, else the start of the day of the batch."""
        return self.values.get("updated_at") or self.day

    def rank(self, table: str) -> tuple:
        """What is newer ranks higher: by the source's own time where the table has one, else by place in time.

        An order that lacks the time counts as made by the end of its batch's day, a customer or product as from its
        start, which is where its history begins.
        """
        if table == "orders":
            return self.values["updated_at"] or self.day + timedelta(days=1), self.place
        return (self.holds_from if table in HISTORIES else FIRST), self.place


def sound(table: str, batches: Iterable[Batch]) -> Iterator[Landed]:
    """The records of a table that can be read; what was seen again unchanged is seen again.

    A review without an id is told apart by its content, and of equal ones in a batch each is a review.
    """
    for batch in batches:
        alike: Counter = Counter()
        for number, row in enumerate(batch.rows, 1):
            try:
                values = record(table, row)
            except Unreadable:
                continue
            key = tuple(values[name] for name in KEYS[table])
            if key == (None,):
                content = frozenset(row.items())
                alike[content] += 1
                key = (content, alike[content])
            day = datetime(batch.day.year, batch.day.month, batch.day.day)
            yield Landed(key, values, day, (*batch.place, number))


def newest(table: str, records: Iterable[Landed]) -> dict[tuple, dict]:
    """Key → its newest record: by the source's own time where there is one, else by place in time."""
    found: dict[tuple, Landed] = {}
    for landed in records:
        before = found.get(landed.key)
        if before is None or before.rank(table) <= landed.rank(table):
            found[landed.key] = landed
    return {key: landed.values for key, landed in found.items()}


def history(records: Iterable[Landed]) -> dict[str, list[dict]]:
    """Id → its versions: values, version, valid_from, valid_to, is_current.

    A content counts from the source's own time of the change, else from the start of the day of its batch, until the
    moment of the next other one. Of several of one moment the last one counts.
    """
    moments: dict[str, dict[datetime, Landed]] = defaultdict(dict)
    for landed in sorted(records, key=lambda one: one.place):
        moments[landed.key[0]][landed.holds_from] = landed
    return {identity: list(_spans(at)) for identity, at in moments.items()}


def _spans(moments: dict[datetime, Landed]) -> Iterator[dict]:
    told: list[tuple[datetime, dict]] = []
    for moment in sorted(moments):
        values = {name: value for name, value in moments[moment].values.items() if name not in UNTRACKED}
        if not told or told[-1][1] != values:
            told.append((moment, values))
    starts = [FIRST, *(moment for moment, _ in told[1:])]
    ends = [*starts[1:], LAST]
    for number, ((_, values), start, end) in enumerate(zip(told, starts, ends, strict=True), 1):
        yield values | {"version": number, "valid_from": start, "valid_to": end, "is_current": end == LAST}


def valid_at(versions: list[dict], moment: datetime | None) -> dict | None:
    """The version that was valid at a moment; without one, the current version."""
    for version in versions:
        if version["is_current"] if moment is None else version["valid_from"] <= moment < version["valid_to"]:
            return version
    return None
