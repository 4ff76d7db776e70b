"""Ground truth of a generated shop, for scoring an analysis. No model of the warehouse reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duckbook.backends import manifest, storage, warehouse
from duckbook.settings import Endpoints, Settings

if TYPE_CHECKING:
    import duckdb

SCHEMA = "truth"

TABLES = ("parameters", "customers", "products", "prices", "affinities", "calendar", "experiment", "reviews", "zones")
"""Tables that `duckbook.generate.shop.truth` writes."""


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings, endpoints: Endpoints) -> bool:
    """Create the truth tables as ``truth.NAME`` on a connection.

    Tables that did not land are created empty: all of them for data of your own, and some for a shop that an earlier
    version generated.

    Returns
    -------
    bool
        Whether the landing zone has a truth.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    warehouse.use_landing(connection, endpoints)
    bucket, landed = settings.s3_historic_bucket, _landed(settings, endpoints)
    for name in TABLES:
        if f"truth/{name}.parquet" in landed:
            source = f"read_parquet('s3://{bucket}/truth/{name}.parquet')"
            connection.execute(f"create or replace view {SCHEMA}.{name} as from {source}")
    missing = {name for name in TABLES if f"truth/{name}.parquet" not in landed}
    if missing:
        _empty(connection, settings, missing)
    return bool(landed)


def introduce(settings: Settings, endpoints: Endpoints) -> None:
    """Print size, seed and planted parameters of a generated shop. Print nothing for data of your own."""
    generated = manifest.read(settings, endpoints) if _landed(settings, endpoints) else None
    if generated:
        changed = f"planted {generated.planted}" if generated.planted else "nothing planted differently"
        print(f"Shop: {generated.customers:,} customers, seed {generated.seed}, {changed}")


def _landed(settings: Settings, endpoints: Endpoints) -> set[str]:
    bucket = settings.s3_historic_bucket
    return {key for key, *_ in storage.list_objects(storage.client(endpoints.s3), bucket, "truth/")}


def _empty(connection: duckdb.DuckDBPyConnection, settings: Settings, missing: set[str]) -> None:
    from duckbook.generate.shop.simulation import Shop
    from duckbook.generate.shop.truth import truth

    day = settings.first_as_of
    for name, pieces in truth(Shop(200, 0, day, day)).items():
        if name not in missing:
            continue
        connection.register("no_truth", next(pieces).slice(0, 0))
        connection.execute(f"create or replace table {SCHEMA}.{name} as from no_truth")
        connection.unregister("no_truth")
