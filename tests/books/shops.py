"""The shops that are held against the books: a generated one with dirt, a hostile one, and the least there can be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from duckbook.backends import manifest, servers, storage, warehouse
from duckbook.generate import landing
from duckbook.ingest import history, raw
from duckbook.settings import Endpoints, Settings
from duckbook.transform import dbt_layers
from landing_zone import AS_OF, Shop, lines

from books import hostile
from books.accounts import Books
from books.comparing import KEYS, Marts
from books.landed import Ledger

DAYS = 3
"""Days of latest loads on top of a history."""

LATE = {"customers": -2, "products": -3, "orders": -2}
"""Table → which export of its history arrives after all that follows it."""


@dataclass(frozen=True)
class Moment:
    """A shop at one moment: its books, and the rows of each mart."""

    books: Books
    marts: dict[str, list[dict]]


def generated(shop: Settings) -> list[Moment]:
    """A generated shop: its history but for what arrives late, three days on top; at the first day and at the last."""
    endpoints, ledger, moments = servers.up(shop), Ledger(), []
    landing.land_history(shop, endpoints, **manifest.choose(shop, endpoints))
    client, bucket = storage.client(endpoints.s3), shop.s3_historic_bucket
    late = {}
    for table, place in LATE.items():
        key = sorted(found.key for found in storage.list_objects(client, bucket, f"json/{table}/"))[place]
        late[key] = storage.get_bytes(client, bucket, key)
        client.delete_object(Bucket=bucket, Key=key)
    for day in (shop.first_as_of + timedelta(n) for n in range(DAYS)):
        landing.land_latest(shop, endpoints, day)
        if day == shop.first_as_of + timedelta(DAYS - 1):
            for key, body in late.items():
                storage.put_bytes(client, bucket, key, body)
        ledger.take(shop, endpoints, day)
        history.ingest(shop, endpoints, day)
        # A day in between is built with the next one.
        if day in (shop.first_as_of, shop.first_as_of + timedelta(DAYS - 1)):
            moments.append(_built(shop, endpoints, ledger, day))
    return moments


def made_by_hand(folder: Path, endpoints: Endpoints, seed: int) -> list[Moment]:
    """A hostile shop, after each of its three ingests."""
    shop, ledger, moments = _shop(folder, endpoints, f"hostile{seed}"), Ledger(), []
    for landings, day in zip(hostile.Hostile(seed).steps(), hostile.AS_OF, strict=True):
        for landed in landings:
            if landed.is_table:
                _land_table(shop, landed.name, landed.rows, landed.day)
            else:
                shop.land(landed.name, lines(*landed.rows))
        ledger.take(shop.settings, endpoints, day)
        shop.ingest(day)
        moments.append(_built(shop.settings, endpoints, ledger, day))
    return moments


def least(folder: Path, endpoints: Endpoints) -> list[Moment]:
    """Orders and their items alone, with the fewest columns."""
    shop, ledger = _shop(folder, endpoints, "least"), Ledger()
    orders = [{"order_id": 1, "order_date": "2026-06-01"}, {"order_id": 2, "customer_id": 9, "shipping_cost": "3"}]
    shop.land("orders.json", lines(*orders))
    items = [{"order_id": 1, "order_item_id": 1, "quantity": 2, "unit_price": "9.99"}, {"order_id": 3}]
    _land_table(shop, "order_items", [*items, {"order_id": 3, "order_item_id": 7, "total_price": "1.005"}], None)
    ledger.take(shop.settings, endpoints, AS_OF)
    shop.ingest()
    return [_built(shop.settings, endpoints, ledger, AS_OF)]


def _shop(folder: Path, endpoints: Endpoints, name: str) -> Shop:
    """A landing zone in which any share of rows may be quarantined."""
    shop = Shop(folder, endpoints, name)
    shop.settings = shop.settings.model_copy(update={"quarantine_limit": 1})
    with shop.postgres() as connection:
        connection.execute(f"create schema {name}")
    return shop


def _land_table(shop: Shop, name: str, rows: list[dict], day: date | None) -> None:
    columns = sorted({column for row in rows for column in row})
    values = [tuple(None if row.get(c) is None else str(row[c]) for c in columns) for row in rows]
    shop.land_table(name, ", ".join(f"{column} text" for column in columns), values, day and day.isoformat())


def _built(shop: Settings, endpoints: Endpoints, ledger: Ledger, day: date) -> Moment:
    raw.load(shop, endpoints)
    dbt_layers.build(shop, "all")
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        found = Marts(connection)
        marts = {mart: found.rows(mart) for mart in KEYS}
    return Moment(Books(Ledger(list(ledger.batches)), day), marts)
