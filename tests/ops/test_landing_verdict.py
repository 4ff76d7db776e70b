"""`check` fails exactly where an ingest or the quarantine limit fails, and its totals equal those of staging.

Random landings are checked, then ingested and staged: dirty rows and their fixes, unchanged rows, views, batches
without a date, negative quantities, future days; also with a warehouse that lags behind or is lost.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from contextlib import suppress
from decimal import ROUND_HALF_UP, Decimal
from unittest.mock import patch

import pytest
import rendered
from duckbook.backends import storage, warehouse
from duckbook.errors import IngestError
from duckbook.ingest import history, raw
from duckbook.ops.landing_check import CheckReport, check
from duckbook.ops.withdrawal import withdraw
from duckbook.transform import quarantine
from landing_zone import AS_OF, Shop, lines, order

EXAMPLES, EXAMPLES_IN_SOAK = 2, 60

ITEMS = "order_id text, order_item_id text, quantity text, unit_price text, total_price text"


@pytest.fixture(scope="module")
def shop(tmp_path_factory, endpoints) -> Shop:
    return Shop(tmp_path_factory.mktemp("verdict"), endpoints, "verdict")


class Landings:
    """Random landings in a shop. A later record or another object of the same name may fix a dirty row."""

    def __init__(self, shop: Shop, chance: random.Random) -> None:
        self.shop, self.chance = shop, chance
        self.tables: dict[str, list[tuple]] = {"order_items": [], "items": []}
        shop.land_table("items", ITEMS, [])
        with shop.postgres() as connection:
            schema = shop.settings.postgres_schema
            connection.execute(f"create view {schema}.latest_order_items as select * from {schema}.items")

    def land(self) -> None:
        """Land one to three sources."""
        for _ in range(self.chance.randint(1, 3)):
            self.chance.choice([self._orders, self._orders, self._items, self._others])()

    def _pick(self, *values: object, dirty: object = "12 EUR") -> object:
        return dirty if self.chance.random() < 0.15 else self.chance.choice(values)

    def _orders(self) -> None:
        rows: list[dict | str] = []
        for _ in range(self.chance.randint(0, 9)):
            row = order(
                self._pick(*range(1, 12), "3.0", dirty=None),
                self.chance.choice(["pending", "cancelled", "lost in post", "a,b=c"]),
                order_date=self._pick("2026-05-01", "2026-06-02T10:00:00", "2099-01-01", dirty="soon"),
                total_amount=self._pick("1.50", "20", 7, None, "-3"),
            )
            rows.append(row | self.chance.choice([{}, {"currency": "EUR"}, {"currency": "USD"}]))
            if self.chance.random() < 0.4:
                rows[-1]["updated_at"] = self.chance.choice(["2026-06-01T10:00:00", "2026-06-29", "x"])
        rows += ["{oops"] * (rows != [] and self.chance.random() < 0.2)
        day = self.chance.choice(["", "date=2026-06-01/", "date=2026-06-02/", "date=2026-06-03/"])
        key = f"orders/{day}{self.chance.choice(['a', 'b[1]*?'])}.ndjson"
        self.shop.land(key, lines(*rows), latest=self.chance.random() < 0.3)

    def _items(self) -> None:
        name = self.chance.choice(list(self.tables))
        if self.chance.random() < 0.7:
            self.tables[name] = [
                (
                    self._pick("1", "2", "3.0", "9", dirty=None),
                    self.chance.choice(["1", "2", "3"]),
                    self._pick("2", "-1", None, "2147483647"),
                    self._pick("0.0125", "5.25", "99999999999"),
                    self._pick("3", None, None),
                )
                for _ in range(self.chance.randint(0, 6))
            ]
        if name == "order_items":  # Also if it is landed again unchanged.
            on = self.chance.choice([None, "2026-06-02"])
            self.shop.land_table(name, ITEMS, self.tables[name], on)
            return
        with self.shop.postgres() as connection:
            connection.execute(f"delete from {self.shop.settings.postgres_schema}.items")
            for row in self.tables[name]:
                values = "%s, %s, %s, %s, %s"
                connection.execute(f"insert into {self.shop.settings.postgres_schema}.items values ({values})", row)

    def _others(self) -> None:
        reviews = [{"review_score": self._pick(1, 2, dirty="good"), "review_text": "x"} for _ in range(3)]
        self.shop.land("reviews/r.json", json.dumps(reviews).encode())
        people = [{"customer_id": self._pick(1, 2, 3, dirty=""), "age": self._pick(30, "40")} for _ in range(4)]
        self.shop.land(f"customers/{self.chance.choice('ab')}.ndjson", lines(*people, "42"))


def ingest_and_stage(shop: Shop, as_of) -> tuple[str, set[str]]:
    """Ingest and stage as a run does; return the error of the ingest and the sentences of the quarantine limit."""
    try:
        history.ingest(shop.settings, shop.endpoints, as_of)
    except IngestError as error:
        return str(error), set()
    raw.load(shop.settings, shop.endpoints)
    with warehouse.open_warehouse(shop.settings) as connection:
        rendered.stage(connection)
        return "", set(quarantine.violations(quarantine.counts(connection), shop.settings))


def comment_staging(shop: Shop) -> None:
    """Comment the tables of staging with the batches that they were built of, as dbt does."""
    with warehouse.open_warehouse(shop.settings) as connection:
        (newest,) = connection.execute("select max(sequence) from ecom_raw.batches").fetchone()
        for table in raw.source_tables():
            comment = f"Built by code x of batches y up to {newest}"
            connection.execute(f"comment on table ecom_staging.base_{table} is '{comment}'")


def assert_predicted(report: CheckReport, failed: str, over: set[str], seed: int) -> None:
    # The example may be any of the rows.
    predicted, expected = ({text.partition("; for example")[0] for text in texts} for texts in (report.stops, over))
    if failed:
        assert failed in report.stops, f"seed {seed}"
    else:
        assert predicted == expected, f"seed {seed}"


def staged_totals(shop: Shop) -> dict[str, tuple]:
    """Return currency → orders, lines, units, sums, first and last day of staging."""
    found = shop.query("""
        select base.*, orders.* exclude (_key, _row_hash, _batch_id, _row_number, order_id, total_amount, order_date)
        from ecom_staging.base_orders as base
        inner join ecom_raw.orders as orders using (_batch_id, _row_number) where base._state = 'staged'
    """)
    orders = {row["order_id"]: row for row in found}
    items = shop.query("select * from ecom_staging.base_order_items where _state = 'staged'")
    by_currency: dict[str, tuple[list, list]] = defaultdict(lambda: ([], []))
    for row in orders.values():
        by_currency[row.get("currency") or ""][0].append(row)
    for row in items:
        by_currency[orders.get(row["order_id"], {}).get("currency") or ""][1].append(row)
    return {
        currency: (
            len(mine),
            len(sold),
            sum(row["quantity"] or 0 for row in sold),
            total(amount(row) for row in sold),
            total(row["total_amount"] for row in mine),
            min((row["order_date"].date() for row in mine if row["order_date"]), default=None),
            max((row["order_date"].date() for row in mine if row["order_date"]), default=None),
        )
        for currency, (mine, sold) in by_currency.items()
    }


def amount(item: dict) -> Decimal | None:
    if item["total_price"] is not None or item["quantity"] is None or item["unit_price"] is None:
        return item["total_price"]
    return (item["quantity"] * item["unit_price"]).quantize(Decimal("0.01"), ROUND_HALF_UP)


def total(amounts) -> Decimal | None:
    known = [value for value in amounts if value is not None]
    return sum(known) if known else None


def play(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    shop.clear()
    landings = Landings(shop, chance)
    shop.land("orders/never-changes.ndjson", lines(*(order(f"c-{n}") for n in range(chance.randint(0, 20)))))
    limit, renumbered = chance.choice([0, 0.05, 0.2, 0.5]), chance.random() < 0.3
    changed = {"quarantine_limit": limit, "order_items_renumbered": renumbered}
    shop.settings = shop.settings.model_copy(update=changed)
    with patch.dict(os.environ, {"DUCKBOOK_ORDER_ITEMS_RENUMBERED": str(renumbered).lower()}):
        for _ in range(chance.randint(1, 3)):
            landings.land()
            as_of = chance.choice([None, AS_OF, AS_OF])
            report = check(shop.settings, shop.endpoints, as_of)
            if chance.random() < 0.2:
                with suppress(IngestError):  # As if killed before the load.
                    history.ingest(shop.settings, shop.endpoints, as_of)
                continue
            assert_predicted(report, *ingest_and_stage(shop, as_of), seed)
            if chance.random() < 0.3:
                again = check(shop.settings, shop.endpoints, as_of)
                assert sorted(again.stops) == sorted(report.stops), f"seed {seed}: nothing has changed since"
            if chance.random() < 0.8 and shop.settings.warehouse_path.exists():
                comment_staging(shop)
            if chance.random() < 0.2 and (batches := shop.query("select batch_id from ecom_raw.batches order by all")):
                with suppress(IngestError):
                    withdraw(shop.settings, shop.endpoints, [chance.choice(batches)["batch_id"]])
            elif chance.random() < 0.1:
                shop.lose_warehouse()
        storage.delete_prefix(shop.client, shop.settings.s3_historic_bucket, "history/")
        shop.lose_warehouse()
        report = check(shop.settings, shop.endpoints, AS_OF)
        failed, over = ingest_and_stage(shop, AS_OF)
        assert_predicted(report, failed, over, seed)
        assert not failed
        totals = {row.pop("currency"): tuple(row.values()) for row in report.totals}
        assert totals == staged_totals(shop), f"seed {seed}"


def test_the_check_fails_where_a_run_fails_and_its_totals_are_those_of_staging(shop, soak):
    for _ in range(EXAMPLES_IN_SOAK if soak else EXAMPLES):
        play(shop, random.randrange(2**32))
