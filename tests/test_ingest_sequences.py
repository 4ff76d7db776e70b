"""Random sequences of batches against a plain model of the truth, kept in Python dicts.

After each ingest every landed record must be in exactly one of raw, the sightings and the unreadable lines, with the
verdict that the model gives it; the newest version of each key must be the model's; ingesting again must add nothing;
and a warehouse rebuilt from the history must equal the one that grew with it.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import date

import pytest
from duckbook import raw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from landing_zone import AS_OF, Shop, content, lines

EXAMPLES, EXAMPLES_IN_SOAK = 12, 500

BROKEN = ("{oops", "42", '{"order_id": 1, "Order_ID": 2}', "null", '{"order_id": 1}{}')

ids = st.one_of(st.integers(1, 3), st.sampled_from(["1", "2.0", " 3 ", "a|b", "A"]), st.sampled_from([None, "", 2.0]))
records = st.builds(
    lambda key, given, order: dict(sorted({"order_id": key, **given}.items(), reverse=order)),
    ids,
    st.fixed_dictionaries(
        {}, optional={"status": st.sampled_from(["new", "paid", None]), "gift": st.booleans(), "note": st.just("é\n|")}
    ),
    st.booleans(),
)


@dataclass(frozen=True)
class Landing:
    """One thing that lands: what is in it, in which shape, and what it says of its date."""

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
        return f"orders/{dated}{self.slot}.{self.shape}"

    @property
    def texts(self) -> list[str]:
        """The records as they stand in the object; what is broken stands between them."""
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


landings = st.builds(
    Landing,
    st.sampled_from(["lines", "lines", "gzip", "array", "document", "table", "latest_table"]),
    st.integers(0, 1),
    st.one_of(st.none(), st.integers(1, 3)),
    st.lists(records, max_size=4).map(lambda rows: tuple(rows)),
    st.lists(st.sampled_from(BROKEN), max_size=2).map(tuple),
)
steps = st.lists(st.lists(landings, min_size=1, max_size=3), min_size=1, max_size=4)


@dataclass
class Model:
    """The truth: every version that landed, in order, and what it must have been called."""

    sequence: int = 0
    held: dict[str, object] = field(default_factory=dict)
    versions: list[dict] = field(default_factory=list)
    unreadable: list[tuple[str, int, str]] = field(default_factory=list)
    flows: dict[str, tuple] = field(default_factory=dict)

    def ingest(self, landed: dict[str, Landing]) -> None:
        """Judge what is new among the sources, by name."""
        self.flows = {}
        fresh = [name for name in sorted(landed, key=self._arrival(landed)) if self._is_new(name, landed[name])]
        arrived = {name: self._rows(name, landed[name]) for name in fresh}
        for name, rows in arrived.items():
            unchanged = 0
            for row in rows:
                before = [v for v in self.versions if v["match"] == row["match"] and v["at"] < row["at"]]
                row["unchanged"] = bool(before) and max(before, key=lambda v: v["at"])["content"] == row["content"]
                unchanged += row["unchanged"]
            broken = sum(1 for source, *_ in self.unreadable if source == (name, self.held[name]))
            self.flows[name] = (len(rows) + broken, len(rows) - unchanged, unchanged, broken)

    @staticmethod
    def _arrival(landed: dict[str, Landing]):
        def arrival(name: str) -> tuple:
            told = landed[name].on if landed[name].shape != "document" else None
            return "latest" in name, told or date.max, name

        return arrival

    def _is_new(self, name: str, landing: Landing) -> bool:
        now = landing.body() if name.startswith("s3") else (as_rows(landing), landing.on)
        same, self.held[name] = self.held.get(name) == now, now
        return not same

    def _rows(self, name: str, landing: Landing) -> list[dict]:
        self.sequence += 1
        place = (landing.on or AS_OF, landing.on is None, name if landing.on else "", self.sequence)
        nameless: Counter = Counter()
        rows = []
        for number, text in enumerate(landing.texts, 1):
            if text in BROKEN:
                self.unreadable.append(((name, self.held[name]), number, text))
                continue
            row = json.loads(text)
            told = frozenset((column, as_text(value)) for column, value in row.items() if value is not None)
            key = normalised(row["order_id"])
            nameless[told] += 1
            match = ("key", key) if key else ("content", told, nameless[told])
            rows.append({"source": name, "at": (place, number), "key": key, "content": told, "match": match})
        self.versions += rows
        return rows

    def newest(self) -> dict[str, dict]:
        newest: dict[str, dict] = {}
        for version in sorted(self.versions, key=lambda v: v["at"]):
            if version["key"]:
                newest[version["key"]] = dict(version["content"])
        return newest


def as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def normalised(value: object) -> str | None:
    text = "" if value is None else str(value).strip(" ")
    return (text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text) or None


def as_rows(landing: Landing) -> Counter:
    """A table's rows, whose order says nothing."""
    return Counter(
        tuple((column, as_text(v)) for column, v in sorted(r.items()) if v is not None) for r in landing.rows
    )


def land(shop: Shop, landing: Landing) -> str:
    """Land it in S3 or in Postgres; gives the name of the source."""
    if "table" not in landing.shape:
        return shop.land(landing.key, landing.body(), latest=landing.slot == 1)
    name = "latest_orders" if landing.shape == "latest_table" else "orders"
    columns = sorted({column for row in landing.rows for column in row} | {"order_id"})
    rows = [tuple(None if row.get(c) is None else as_text(row[c]) for c in columns) for row in landing.rows]
    shop.land_table(name, ", ".join(f"{column} text" for column in columns), rows, landing.on and str(landing.on))
    return f"postgres:{shop.settings.postgres_schema}.{name}"


def see_that_it_is_the_truth(shop: Shop, model: Model) -> None:
    rows = shop.raw()
    found = Counter((r["_source"], r["_row_number"], r.get("_key"), frozenset(content(r).items())) for r in rows)
    appended = [v for v in model.versions if not v["unchanged"]]
    assert found == Counter((v["source"], v["at"][1], v["key"], v["content"]) for v in appended)

    hashes = {(row["_row_hash"], frozenset(content(row).items())) for row in rows}
    assert len({h for h, _ in hashes}) == len(hashes) == len({c for _, c in hashes}), "a hash tells a content"
    contents = dict(hashes)
    sightings = shop.query(
        "select source, _row_number, _row_hash from ecom_raw.sightings join ecom_raw.batches on _batch_id = batch_id"
        " where sightings.table_name = 'orders'"
    )
    assert Counter((s["source"], s["_row_number"], contents[s["_row_hash"]]) for s in sightings) == Counter(
        (v["source"], v["at"][1], v["content"]) for v in model.versions if v["unchanged"]
    )
    unreadable = shop.query("select source, row_number, original from ecom_raw.unreadable")
    assert Counter(tuple(row.values()) for row in unreadable) == Counter(
        (source, number, text) for (source, _), number, text in model.unreadable
    )
    newest = {key: row for key, row in shop.newest().items() if key is not None}
    assert newest == model.newest()


@pytest.fixture(scope="module")
def shop(tmp_path_factory, endpoints) -> Shop:
    return Shop(tmp_path_factory.mktemp("sequences"), endpoints, "sequences")


def test_whatever_lands_in_whatever_order_is_what_the_model_says(shop, soak):
    @settings(
        max_examples=EXAMPLES_IN_SOAK if soak else EXAMPLES,
        deadline=None,
        derandomize=not soak,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(steps)
    def run(sequence):
        shop.clear()
        shop.land("orders/never-changes.ndjson", b"")
        model, landed = Model(), {}
        for step in sequence:
            landed |= {land(shop, landing): landing for landing in step}
            model.ingest(landed)
            report = shop.ingest()
            flows = {b.source: (b.landed, b.appended, b.unchanged, b.unreadable) for b in report.batches}
            mine = {source: counts for source, counts in flows.items() if source in landed}
            assert mine == model.flows
            see_that_it_is_the_truth(shop, model)
        before = shop.dump()
        assert shop.ingest().number is None
        raw.rebuild(shop.settings, shop.endpoints)
        assert shop.dump() == before

    run()
