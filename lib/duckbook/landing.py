"""Landing: writes slices of the simulated store to S3 and to Postgres.

The historic load comes once, the latest days come on top of it, day by day or with days skipped. Each landing can
be done again: what is complete is left as it is, what was killed half way is written again and comes out the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from duckbook import manifest as manifests
from duckbook.endpoints import Endpoints
from duckbook.errors import LandingError
from duckbook.manifest import Manifest
from duckbook.settings import Settings

if TYPE_CHECKING:
    from duckbook.store.simulation import Store, Window

S3_TABLES = ("customers", "products", "orders", "reviews")
POSTGRES_TABLES = ("categories", "subcategories", "order_items", "interactions")

FIXED = ("customers", "seed", "dirt", "first_as_of", "planted")
"""What a store is generated with: fixed in the landing zone from then on."""


def manifest(settings: Settings, endpoints: Endpoints) -> Manifest | None:
    """What has been generated into the landing zone, or None."""
    return manifests.read(settings, endpoints)


def resolve_as_of(settings: Settings, endpoints: Endpoints, requested: date | None) -> date:
    """The as-of date to work with: the requested one, else the last one landed, else the first of the settings."""
    if requested is not None:
        return requested
    landed = manifest(settings, endpoints)
    return (landed and (landed.last_as_of or landed.first_as_of)) or settings.first_as_of


def next_as_of(settings: Settings, endpoints: Endpoints) -> date:
    """The as-of date that follows: the day after the last one landed, or the first of the settings."""
    landed = manifest(settings, endpoints)
    if landed and landed.last_as_of:
        return landed.last_as_of + timedelta(days=1)
    return landed.first_as_of if landed else settings.first_as_of


def choose(
    settings: Settings,
    endpoints: Endpoints,
    *,
    customers: int | None = None,
    seed: int | None = None,
    dirt: float | None = None,
    planted: str | None = None,
    as_of: date | None = None,
) -> dict:
    """What to generate: as given, else as set in the settings, else as landed before, else the default.

    Parameters
    ----------
    as_of
        The as-of date of this run; on an empty landing zone the history ends 30 days before it.

    Returns
    -------
    dict
        The keyword arguments of `land_history`.
    """
    given = {"customers": customers, "seed": seed, "dirt": dirt, "planted": planted}
    store = wanted(settings, manifest(settings, endpoints), given, as_of)
    return {name: getattr(store, name) for name in FIXED}


def wanted(settings: Settings, landed: Manifest | None, given: Mapping[str, Any], as_of: date | None) -> Manifest:
    """The store that `choose` chooses beside what has been landed."""
    chosen = {name: given.get(name) for name in FIXED} | {"first_as_of": None if landed and landed.complete else as_of}
    for name, value in chosen.items():
        if value is None:
            source = landed if landed and name not in settings.model_fields_set else settings
            chosen[name] = getattr(source, name)
    chosen["planted"] = " ".join(sorted(chosen["planted"].replace(",", " ").split()))
    return Manifest(**chosen)


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
    found = manifest(settings, endpoints)
    if found and found.complete:
        refuse_another(settings, found, wanted)
        return found.history

    from duckbook.landing_writer import Writer
    from duckbook.store.parameters import planting
    from duckbook.store.simulation import Store, Window, history_end, quarters

    with Writer(settings, endpoints) as writer:
        if found is None:
            refuse_what_others_landed(writer.found())
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
    found = manifest(settings, endpoints)
    if found is None or not found.complete:
        raise LandingError(NO_HISTORY)
    if as_of.isoformat() in found.latest and as_of == found.last_as_of:
        return found.latest[as_of.isoformat()]
    refuse_the_past(found, as_of)

    from duckbook.landing_writer import Writer
    from duckbook.store.parameters import planting
    from duckbook.store.simulation import Store, history_end, latest_window

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
    from duckbook.store import records

    for table in S3_TABLES:
        found = records.SLICES[table](store, window)
        writer.put_object(store, bucket, table, window.until, found)


def _land_tables(writer, store: Store, prefix: str, window: Window) -> None:
    from duckbook.store import records

    for table in POSTGRES_TABLES:
        writer.put_table(store, prefix, table, window.until, records.SLICES[table](store, window))


NO_HISTORY = "The history has not been landed: run 01_generate_history.ipynb first, or `make pipeline`."


def refuse_another(settings: Settings, found: Manifest, wanted: Manifest) -> None:
    """See that the store that is wanted is the one that has been landed.

    Raises
    ------
    LandingError
        It is another one.
    """
    for name in FIXED:
        have, want = getattr(found, name), getattr(wanted, name)
        if have != want:
            there = f"{name}={have}"
            raise LandingError(
                f"The landing zone s3://{settings.s3_historic_bucket} holds a store generated with {there}, not "
                f"{want or repr(want)}: go on with {there}, or take another data folder (DATA=folder), or `make clean`."
            )


def refuse_what_others_landed(found: Sequence[str]) -> None:
    """See that no data lie in the landing zone that were not generated: they would be mixed with ours, or lost.

    Raises
    ------
    LandingError
        There are some.
    """
    if found:
        raise LandingError(
            f"The landing zone holds data that was not generated here, such as {found[0]}: run what is landed by "
            "`make pipeline GENERATE=0`, or take another data folder (DATA=folder) to generate a store."
        )


def refuse_the_past(found: Manifest, as_of: date) -> None:
    """See that an as-of date is not before what has been landed.

    Raises
    ------
    LandingError
        It is.
    """
    if found.last_as_of and as_of < found.last_as_of:
        raise LandingError(
            f"The landing zone has been filled up to {found.last_as_of}, and {as_of} is earlier: take "
            f"{found.last_as_of} or a later as-of date, or another data folder (DATA=folder)."
        )
    if as_of < found.first_as_of:
        raise LandingError(
            f"The latest days of {as_of} lie within the history, which ends 30 days before {found.first_as_of}: take "
            f"{found.first_as_of} or a later as-of date, or another data folder (DATA=folder)."
        )
