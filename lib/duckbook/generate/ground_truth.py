"""The truth beside a generated store, to score an analysis by what was planted. No model of the warehouse reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duckbook.backends import manifest, storage, warehouse
from duckbook.settings import Endpoints, Settings

if TYPE_CHECKING:
    import duckdb

SCHEMA = "truth"

TABLES = ("parameters", "customers", "products", "prices", "affinities", "calendar", "experiment", "reviews", "zones")
"""What `duckbook.generate.shop.truth` writes."""


def attach(connection: duckdb.DuckDBPyConnection, settings: Settings, endpoints: Endpoints) -> bool:
    """Let a connection read the truth tables as ``truth.NAME``.

    Returns
    -------
    bool
        Whether there are any. Where others have landed the data there is no truth: the tables are there, and empty. So
        are tables that an earlier version of the generator did not write.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    warehouse.use_landing(connection, endpoints)
    bucket, landed = settings.s3_historic_bucket, _landed(settings, endpoints)
    for name in TABLES:
        if f"truth/{name}.parquet" in landed:
            found = f"read_parquet('s3://{bucket}/truth/{name}.parquet')"
            connection.execute(f"create or replace view {SCHEMA}.{name} as from {found}")
    missing = {name for name in TABLES if f"truth/{name}.parquet" not in landed}
    if missing:
        _empty(connection, settings, missing)
    return bool(landed)


def introduce(settings: Settings, endpoints: Endpoints) -> None:
    """Print which generated store this is, for its figures are those of no other; of data of one's own, nothing."""
    store = manifest.read(settings, endpoints) if _landed(settings, endpoints) else None
    if store:
        changed = f"planted {store.planted}" if store.planted else "nothing planted differently"
        print(f"Store: {store.customers:,} customers, seed {store.seed}, {changed}")


def _landed(settings: Settings, endpoints: Endpoints) -> set[str]:
    bucket = settings.s3_historic_bucket
    return {key for key, *_ in storage.list_objects(storage.client(endpoints.s3), bucket, "truth/")}


def _empty(connection: duckdb.DuckDBPyConnection, settings: Settings, missing: set[str]) -> None:
    from duckbook.generate.shop.simulation import Store
    from duckbook.generate.shop.truth import truth

    day = settings.first_as_of
    for name, pieces in truth(Store(200, 0, day, day)).items():
        if name not in missing:
            continue
        connection.register("no_truth", next(pieces).slice(0, 0))
        connection.execute(f"create or replace table {SCHEMA}.{name} as from no_truth")
        connection.unregister("no_truth")
