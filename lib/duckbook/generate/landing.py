"""Landing: writes slices of the simulated store to S3 and to Postgres.

The historic load comes once, the latest days come on top of it, day by day or with days skipped. Each landing can
be done again: what is complete is left as it is, what was killed half way is written again and comes out the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from duckbook.backends import manifest as manifests
from duckbook.backends.manifest import (
    NO_HISTORY,
    Manifest,
    check_not_earlier,
    check_only_generated,
    check_same_shop,
)
from duckbook.errors import LandingError
from duckbook.settings import Endpoints, Settings

if TYPE_CHECKING:
    from duckbook.generate.shop.simulation import Store, Window

S3_TABLES = ("customers", "products", "orders", "reviews")
POSTGRES_TABLES = ("categories", "subcategories", "order_items", "interactions")


def land_history(
    settings: Settings,
    endpoints: Endpoints,
    *,
    customers: int,
    seed: int,
    dirt: float,
    first_as_of: date,
    planted: str = "",
) -> list[dict]:
    """Land the history: three years up to 30 days before the first as-of date.

    Parameters
    ----------
    customers, seed, dirt, first_as_of, planted
        What to generate; fixed in the landing zone from then on.

    Returns
    -------
    list of dict
        A record an object of S3 or table of Postgres: table, system, where, date, rows.

    Raises
    ------
    LandingError
        Another store has been generated here.
    """
    wanted = Manifest(customers, seed, dirt, first_as_of, planted=planted)
    found = manifests.read(settings, endpoints)
    if found and found.complete:
        check_same_shop(settings, found, wanted)
        return found.history

    from duckbook.generate.landing_writer import Writer
    from duckbook.generate.shop.parameters import planting
    from duckbook.generate.shop.simulation import Store, Window, history_end, quarters

    with Writer(settings, endpoints) as writer:
        if found is None:
            check_only_generated(writer.found())
        elif found != wanted:
            # A killed load of another size may have left objects that this one would not overwrite.
            days = [window.until for window in quarters(found.first_as_of)]
            writer.delete_objects(settings.s3_historic_bucket, S3_TABLES, days)
        if found != wanted:
            manifests.write(settings, endpoints, wanted)
        store = Store(customers, seed, first_as_of, history_end(first_as_of), dirt, planting(planted), writer.folder)
        whole = Window(store.before_first, store.until)
        _land(writer, store, settings.s3_historic_bucket, quarters(first_as_of), "", whole)
        landed = writer.landed()
        writer.put_dirt(store.until)
    manifests.write(settings, endpoints, replace(wanted, history=landed))
    return landed


def land_latest(settings: Settings, endpoints: Endpoints, as_of: date) -> list[dict]:
    """Land the latest days: the 30 up to the as-of date, or all since the last landing where that is longer.

    Returns
    -------
    list of dict
        As `land_history`.

    Raises
    ------
    LandingError
        There is no history yet, or a later day has been landed already.
    """
    found = manifests.read(settings, endpoints)
    if found is None or not found.complete:
        raise LandingError(NO_HISTORY)
    if as_of.isoformat() in found.latest and as_of == found.last_as_of:
        return found.latest[as_of.isoformat()]
    check_not_earlier(found, as_of)

    from duckbook.generate.landing_writer import Writer
    from duckbook.generate.shop.parameters import planting
    from duckbook.generate.shop.simulation import Store, history_end, latest_window

    landed_until = found.last_as_of or history_end(found.first_as_of)
    with Writer(settings, endpoints) as writer:
        store = Store(
            found.customers, found.seed, found.first_as_of, as_of, found.dirt, planting(found.planted), writer.folder
        )
        window = latest_window(as_of, landed_until)
        _land(writer, store, settings.s3_latest_bucket, [window], "latest_", window)
        landed = writer.landed()
        writer.put_dirt(as_of)
    latest = found.latest | {as_of.isoformat(): landed}
    manifests.write(settings, endpoints, replace(found, latest=latest))
    return landed


def _land(writer, store: Store, bucket: str, exports: list[Window], prefix: str, batch: Window) -> None:
    """Land the tables of both systems side by side: while Postgres copies, the exports to S3 are made."""
    store.build()
    with ThreadPoolExecutor(1) as beside:
        tables = beside.submit(_land_tables, writer, store, prefix, batch)
        for window in exports:
            _land_objects(writer, store, bucket, window)
        writer.put_truth(store)
        tables.result()


def _land_objects(writer, store: Store, bucket: str, window: Window) -> None:
    from duckbook.generate.shop import records

    for table in S3_TABLES:
        found = records.SLICES[table](store, window)
        writer.put_object(store, bucket, table, window.until, found)


def _land_tables(writer, store: Store, prefix: str, window: Window) -> None:
    from duckbook.generate.shop import records

    for table in POSTGRES_TABLES:
        writer.put_table(store, prefix, table, window.until, records.SLICES[table](store, window))
