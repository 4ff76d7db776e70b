"""Random sequences of batches against a plain model of the truth, kept in Python dicts.

After each ingest every landed record must be appended, unchanged or unreadable as in the model; every row of raw must
be staged, superseded or quarantined, and the staged rows must be those of the model. A second ingest must add nothing,
and a warehouse rebuilt from the history must equal the one that was loaded step by step. Tables have sequences of their
own and share the ingests, which saves time.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from unittest.mock import patch

import pytest
import rendered
from duckbook.backends import warehouse
from duckbook.ingest import batch_files, raw
from duckbook.source_tables import source_tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from landing_zone import AS_OF, Shop, content, lines

SEQUENCES, SEQUENCES_IN_SOAK = 35, 500

PLAYED = {
    "customers": ("city", "age"),
    "products": ("brand", "stock_quantity"),
    "orders": ("status", "total_amount"),
    "reviews": ("review_text", "review_score"),
    "order_items": ("product_id", "quantity"),
    "categories": ("category_name", "created_at"),
    "interactions": ("event_type", "created_at"),
}
"""Table → a text column and a typed column."""

BROKEN = ("{oops", "42", '{"order_id": 1, "Order_ID": 2}', "null", '{"order_id": 1}{}')

UNCASTABLE = "none of these"

ids = st.one_of(st.integers(1, 3), st.sampled_from(["1", "2.0", " 3 ", "a|b", "A"]), st.sampled_from([None, "", 2.0]))
times = st.sampled_from(["2026-06-01T10:00:00", "2026-06-02 23:00:00", None])


def records(table: str) -> st.SearchStrategy[dict]:
    """Records of a table with changing keys, added and missing columns, and values that staging cannot cast."""
    text, typed = PLAYED[table]
    sound = ["2026-06-01", "2026-06-02T10:00:00"] if typed == "created_at" else [1, "2", 3.0]
    optional = {
        text: st.sampled_from(["new", "paid", None]),
        typed: st.sampled_from([*sound, UNCASTABLE, None]),
        "gift": st.booleans(),
        "note": st.just("é\n|"),
    }
    if source_tables()[table].update_time:
        optional["updated_at"] = times
    keys = dict.fromkeys(source_tables()[table].key, ids)
    return st.builds(
        lambda given, backwards: dict(sorted(given.items(), reverse=backwards)),
        st.fixed_dictionaries(keys, optional=optional),
        st.booleans(),
    )


@dataclass(frozen=True)
class Landing:
    """One object or table that lands: its records, format and declared date."""

    table: str
    shape: str
    slot: int
    day: int | None
    rows: tuple
    broken: tuple[str, ...]

    @property
    def on(self) -> date | None:
        return self.day and date(2026, 6, self.day)

    @property
    def key(self) -> str:
        dated = f"date={self.on}/" if self.day and self.shape != "document" else ""
        return f"{self.table}/{dated}{self.slot}.{self.shape}"

    @property
    def texts(self) -> list[str]:
        """The lines of the object, with broken ones after the first record."""
        good = [json.dumps(row) for row in self.rows]
        if self.shape not in {"lines", "gzip"} or not good:
            return good
        return [good[0], *self.broken, *good[1:]]

    def body(self) -> bytes:
        if self.shape == "array":
            return json.dumps(list(self.rows)).encode()
        if self.shape == "document":
            metadata = {"date": str(self.on)} if self.day else {}
            return json.dumps({"metadata": metadata, "data": list(self.rows)}).encode()
        plain = lines(*self.texts)
        return gzip.compress(plain, mtime=0) if self.shape == "gzip" else plain


def landings(table: str) -> st.SearchStrategy[list[Landing]]:
    return st.lists(
        st.builds(
            Landing,
            st.just(table),
            st.sampled_from(["lines", "lines", "gzip", "array", "document", "table", "latest_table"]),
            st.integers(0, 1),
            st.one_of(st.none(), st.integers(1, 3)),
            st.lists(records(table), max_size=4).map(tuple),
            st.lists(st.sampled_from(BROKEN), max_size=2).map(tuple),
        ),
        min_size=1,
        max_size=3,
    )


sequences = st.fixed_dictionaries({table: st.lists(landings(table), min_size=1, max_size=4) for table in PLAYED})
"""Table → the landings before each ingest."""


@dataclass
class Model:
    """The expected state of one table: every version that landed, in order, and how it must be classified."""

    table: str
    sequence: int = 0
    held: dict[str, object] = field(default_factory=dict)
    versions: list[dict] = field(default_factory=list)
    unreadable: list[tuple[str, int, str]] = field(default_factory=list)
    flows: dict[str, tuple] = field(default_factory=dict)

    def ingest(self, landed: dict[str, Landing]) -> None:
        """Classify the new rows of the sources, by name."""
        self.flows = {}
        fresh = [name for name in sorted(landed, key=self._arrival(landed)) if self._is_new(name, landed[name])]
        arrived = {name: self._rows(name, landed[name]) for name in fresh}
        for name, rows in arrived.items():
            unchanged = 0
            for row in rows:
                same = (row["match"], row["holds"])
                before = [v for v in self.versions if (v["match"], v["holds"]) == same and v["at"] < row["at"]]
                row["unchanged"] = bool(before) and max(before, key=lambda v: v["at"])["content"] == row["content"]
                unchanged += row["unchanged"]
            broken = sum(1 for source, *_ in self.unreadable if source == (name, self.held[name]))
            self.flows[name] = (len(rows) + broken, len(rows) - unchanged, unchanged, broken)

    @staticmethod
    def _arrival(landed: dict[str, Landing]) -> Callable[[str], tuple]:
        def arrival(name: str) -> tuple:
            on = landed[name].on if landed[name].shape != "document" else None
            return "-new/" in name or ".latest_" in name, on or date.max, name

        return arrival

    def _is_new(self, name: str, landing: Landing) -> bool:
        now = landing.body() if name.startswith("s3") else (as_rows(landing), landing.on)
        same, self.held[name] = self.held.get(name) == now, now
        return not same

    def _rows(self, name: str, landing: Landing) -> list[dict]:
        self.sequence += 1
        day = landing.on or AS_OF
        place = (day, landing.on is None, name if landing.on else "", self.sequence)
        nameless: Counter = Counter()
        rows = []
        for number, text in enumerate(landing.texts, 1):
            if text in BROKEN:
                self.unreadable.append(((name, self.held[name]), number, text))
                continue
            row = json.loads(text)
            cells = frozenset((column, as_text(value)) for column, value in row.items() if value is not None)
            key = self._key(row)
            nameless[cells] += 1
            match = ("key", key) if key else ("content", cells, nameless[cells])
            if key is None and source_tables()[self.table].derived_key:
                key = f"derived#{nameless[cells]}"
            holds = row.get("updated_at") and datetime.fromisoformat(row["updated_at"])
            # An order without a time of its own counts by the end of its day; a product or customer, which has a
            # history, from the start of it.
            days = 1 if self.table == "orders" else 0
            time_of_it = holds or datetime.combine(day + timedelta(days), time())
            rows.append(
                {"source": name, "at": (place, number), "key": key, "content": cells, "match": match,
                 "place": place, "holds": holds, "time": time_of_it, "order": normalised(row.get("order_id")),
                 "sound": key is not None and UNCASTABLE not in row.values()}
            )  # fmt: skip
        self.versions += rows
        return rows

    def _key(self, row: dict) -> str | None:
        parts = [normalised(row[name]) for name in source_tables()[self.table].key]
        if None in parts:
            return None
        return parts[0] if len(parts) == 1 else "|".join(part.replace("|", "\\|") for part in parts)

    def staged(self, renumbered: bool) -> Counter:
        """Return the newest castable version per key; of renumbered items, only those of an order's latest batch."""
        sound = [v for v in self.versions if v["sound"]]
        if renumbered and self.table == "order_items":
            latest = {}
            for v in sound:
                latest[v["order"]] = max(v["place"], latest.get(v["order"], v["place"]))
            sound = [v for v in sound if v["place"] == latest[v["order"]]]
        newest: dict[object, dict] = {}
        for version in sorted(sound, key=lambda v: (v["time"], v["at"])):
            newest[version["match"]] = version
        return Counter((v["key"], v["content"]) for v in newest.values())


def as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def normalised(value: object) -> str | None:
    text = "" if value is None else str(value).strip(" ")
    return (text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text) or None


def as_rows(landing: Landing) -> Counter:
    """Return a table's rows regardless of order."""
    return Counter(
        tuple((column, as_text(v)) for column, v in sorted(r.items()) if v is not None) for r in landing.rows
    )


def land(shop: Shop, landing: Landing) -> str:
    """Land it in S3 or in Postgres and return the name of the source."""
    if "table" not in landing.shape:
        return shop.land(landing.key, landing.body(), latest=landing.slot == 1)
    name = landing.table if landing.shape == "table" else f"latest_{landing.table}"
    columns = sorted({column for row in landing.rows for column in row} | {*source_tables()[landing.table].key})
    rows = [tuple(None if row.get(c) is None else as_text(row[c]) for c in columns) for row in landing.rows]
    shop.land_table(name, ", ".join(f"{column} text" for column in columns), rows, landing.on and str(landing.on))
    return f"postgres:{shop.settings.postgres_schema}.{name}"


def check_against_model(connection, model: Model, renumbered: bool) -> None:
    def query(sql: str) -> list[dict]:
        found = connection.execute(sql)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    table = model.table
    rows = query(f"select r.*, b._state from ecom_raw.{table} as r join ecom_staging.base_{table} as b"
                 " on r._batch_id = b._batch_id and r._row_number = b._row_number")  # fmt: skip
    for row in rows:
        row["_key"] = re.sub(r"^[0-9a-f]{32}#", "derived#", row["_key"] or "") or None
    found = Counter((r["_source"], r["_row_number"], r["_key"], frozenset(content(r).items())) for r in rows)
    appended = [v for v in model.versions if not v["unchanged"]]
    assert found == Counter((v["source"], v["at"][1], v["key"], v["content"]) for v in appended)

    hashes = {(row["_row_hash"], frozenset(content(row).items())) for row in rows}
    assert len({h for h, _ in hashes}) == len(hashes) == len({c for _, c in hashes}), "equal hashes mean equal content"
    contents = dict(hashes)
    unchanged = query(
        "select source, _row_number, _row_hash from ecom_raw.sightings join ecom_raw.batches on _batch_id = batch_id"
        f" where sightings.table_name = '{table}'"
    )
    assert Counter((s["source"], s["_row_number"], contents[s["_row_hash"]]) for s in unchanged) == Counter(
        (v["source"], v["at"][1], v["content"]) for v in model.versions if v["unchanged"]
    )
    unreadable = query(f"select source, row_number, original from ecom_raw.unreadable where table_name = '{table}'")
    assert Counter(tuple(row.values()) for row in unreadable) == Counter(
        (source, number, text) for (source, _), number, text in model.unreadable
    )
    staged = model.staged(renumbered)
    assert Counter((r["_key"], frozenset(content(r).items())) for r in rows if r["_state"] == "staged") == staged
    accounts = query(
        f"select raw, staged, superseded, quarantined from ecom_staging.row_accounts where table_name = '{table}'"
    )
    quarantined = sum(not v["sound"] for v in appended)
    kept = staged.total()
    assert [tuple(row.values()) for row in accounts] == [
        (len(appended), kept, len(appended) - kept - quarantined, quarantined)
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory, endpoints) -> Shop:
    return Shop(tmp_path_factory.mktemp("sequences"), endpoints, "sequences")


def test_whatever_lands_in_whatever_order_is_what_the_model_says(shop, soak):
    @settings(
        max_examples=-(-(SEQUENCES_IN_SOAK if soak else SEQUENCES) // len(PLAYED)),
        deadline=None,
        derandomize=not soak,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(sequences, st.booleans(), st.booleans())
    def run(played, renumbered, as_large_ones):
        # Large batches keep their few unchanged rows in the file of rows: here every batch does.
        with patch.multiple(batch_files, MANY_ROWS=0, FEW_UNCHANGED=1) if as_large_ones else nullcontext():
            play(played, renumbered)

    def play(played, renumbered):
        shop.clear()
        shop.land("orders/never-changes.ndjson", b"")
        models, landed = {table: Model(table) for table in played}, {table: {} for table in played}
        # The shop begins with this table, without a row.
        table = f"postgres:{shop.settings.postgres_schema}.order_items"
        landed["order_items"][table] = Landing("order_items", "table", 0, None, (), ())
        environment = {"DUCKBOOK_ORDER_ITEMS_RENUMBERED": str(renumbered).lower()}
        for number in range(max(map(len, played.values()))):
            for table, steps in played.items():
                for landing in steps[number] if number < len(steps) else ():
                    landed[table][land(shop, landing)] = landing
                models[table].ingest(landed[table])
            report = shop.ingest()
            flows = {b.source: (b.landed, b.appended, b.unchanged, b.unreadable) for b in report.batches}
            counted = {
                source: counts for source, counts in flows.items() if any(source in of for of in landed.values())
            }
            assert counted == {source: flow for model in models.values() for source, flow in model.flows.items()}
            with warehouse.open_warehouse(shop.settings) as connection, patch.dict(os.environ, environment):
                rendered.stage(connection)
                for model in models.values():
                    check_against_model(connection, model, renumbered)
        before = shop.dump()
        assert shop.ingest().number is None
        raw.rebuild(shop.settings, shop.endpoints)
        assert shop.dump() == before

    run()
