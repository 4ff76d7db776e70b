"""Land slices of the simulated shop in S3 and Postgres.

The historic load lands once. The latest days follow, day by day or with days skipped. Landing is idempotent: a complete
landing is left alone, and one that was killed half way is written again with the same bytes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from duckbook.backends import manifest as manifests
from duckbook.backends.manifest import NO_HISTORY, Manifest, check_not_earlier, check_only_generated, check_same_shop
from duckbook.errors import LandingError
from duckbook.settings import Endpoints, Settings

if TYPE_CHECKING:
    from duckbook.generate.shop.simulation import Shop, Window

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
        What to generate; fixed in the landing zone from the first load on.

    Returns
    -------
    list of dict
        One record per S3 object or Postgres table: table, system, where, date, rows.

    Raises
    ------
    LandingError
        The landing zone holds a shop with other parameters, or data that was not generated.
    """
    wanted = Manifest(customers, seed, dirt, first_as_of, planted=planted)
    existing = manifests.read(settings, endpoints)
    if existing and existing.history is not None:
        check_same_shop(settings, existing, wanted)
        return existing.history

    from duckbook.generate.landing_writer import Writer
    from duckbook.generate.shop.parameters import planting
    from duckbook.generate.shop.simulation import Shop, Window, history_end, quarters

    with Writer(settings, endpoints) as writer:
        if existing is None:
            check_only_generated(writer.list_existing())
        elif existing != wanted:
            # A killed load of another size may leave objects that this load does not overwrite.
            days = [window.until for window in quarters(existing.first_as_of)]
            writer.delete_objects(settings.s3_historic_bucket, S3_TABLES, days)
        if existing != wanted:
            manifests.write(settings, endpoints, wanted)
        shop = Shop(customers, seed, first_as_of, history_end(first_as_of), dirt, planting(planted), writer.folder)
        whole = Window(shop.before_first, shop.until)
        _land(writer, shop, settings.s3_historic_bucket, quarters(first_as_of), "", whole)
        landed = writer.landed()
        writer.put_dirt(shop.until)
    manifests.write(settings, endpoints, replace(wanted, history=landed))
    return landed


def land_latest(settings: Settings, endpoints: Endpoints, as_of: date) -> list[dict]:
    """Land the 30 days up to the as-of date, or all days since the last landing if there are more.

    Returns
    -------
    list of dict
        The same records as from `land_history`.

    Raises
    ------
    LandingError
        No history has landed yet, or a later day has.
    """
    existing = manifests.read(settings, endpoints)
    if existing is None or not existing.complete:
        raise LandingError(NO_HISTORY)
    if as_of.isoformat() in existing.latest and as_of == existing.last_as_of:
        return existing.latest[as_of.isoformat()]
    check_not_earlier(existing, as_of)

    from duckbook.generate.landing_writer import Writer
    from duckbook.generate.shop.parameters import planting
    from duckbook.generate.shop.simulation import Shop, history_end, latest_window

    landed_until = existing.last_as_of or history_end(existing.first_as_of)
    with Writer(settings, endpoints) as writer:
        shop = Shop(
            existing.customers,
            existing.seed,
            existing.first_as_of,
            as_of,
            existing.dirt,
            planting(existing.planted),
            writer.folder,
        )
        window = latest_window(as_of, landed_until)
        _land(writer, shop, settings.s3_latest_bucket, [window], "latest_", window)
        landed = writer.landed()
        writer.put_dirt(as_of)
    latest = existing.latest | {as_of.isoformat(): landed}
    manifests.write(settings, endpoints, replace(existing, latest=latest))
    return landed


def _land(writer, shop: Shop, bucket: str, exports: list[Window], prefix: str, batch: Window) -> None:
    """Land both systems concurrently: export to S3 while Postgres copies."""
    shop.build()
    with ThreadPoolExecutor(1) as pool:
        tables = pool.submit(_land_tables, writer, shop, prefix, batch)
        for window in exports:
            _land_objects(writer, shop, bucket, window)
        writer.put_truth(shop)
        tables.result()


def _land_objects(writer, shop: Shop, bucket: str, window: Window) -> None:
    from duckbook.generate.shop import records

    for table in S3_TABLES:
        writer.put_object(shop, bucket, table, window.until, records.SLICES[table](shop, window))


def _land_tables(writer, shop: Shop, prefix: str, window: Window) -> None:
    from duckbook.generate.shop import records

    for table in POSTGRES_TABLES:
        writer.put_table(shop, prefix, table, window.until, records.SLICES[table](shop, window))
