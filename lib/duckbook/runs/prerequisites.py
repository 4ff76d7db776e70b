"""Check what a run needs before it begins: landed, built and published data, and their as-of date.

The steps check the same, but half a minute later and in a recorded run. A refusal here takes about a second. Servers
that are down are started only if nothing else has the answer; the caller stops them after a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import date
from typing import TYPE_CHECKING

from duckbook.backends import manifest, servers, storage
from duckbook.backends.manifest import Manifest
from duckbook.errors import ChainError, IngestError, LandingError, WarehouseLocked
from duckbook.publish import publisher
from duckbook.publish.publication import Publication
from duckbook.runs.chain import Step
from duckbook.runs.request import GENERATED, Request
from duckbook.settings import Endpoints, Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

BUILT = {
    "ingest": ("ecom_raw", "ecom_raw.as_of", "notebooks/pipeline/03_ingest.ipynb"),
    "staging": ("ecom_staging", "ecom_staging.stg_as_of", "notebooks/pipeline/04_staging.ipynb"),
    "intermediate": ("ecom_intermediate", "ecom_staging.stg_as_of", "notebooks/pipeline/05_intermediate.ipynb"),
    "marts": ("ecom_marts", "ecom_marts.reconciliation", "notebooks/pipeline/06_marts.ipynb"),
}
"""Step → the schema that it builds, the table with its as-of date, and its notebook."""


def check(settings: Settings, request: Request, steps: Sequence[Step]) -> date | None:
    """Check that the inputs of these steps exist and match the request.

    Returns
    -------
    date or None
        The as-of date of the inputs; None if a step of the run sets it.

    Raises
    ------
    LandingError
        The landing zone holds data of other parameters or a later day, or no generated history yet.
    IngestError
        A table is missing from the landing zone, or the history is of a later day.
    ChainError, WarehouseError
        The steps before these have not run, or ran as of another day.
    PublishError
        Nothing has been published.
    ScienceError
        There are too few customers for any of the steps, all of which are data science.
    """
    names = {step.name for step in steps}
    before = {need for step in steps for need in step.needs if need not in names}
    generates = any(step.group == "generate" for step in steps)
    if generates or "generate_history" in before or any(name in request.values for name in GENERATED):
        _check_generated(settings, request, names, before)
    if "ingest" in names:
        _check_history(settings, request, generates)
    if generates or "ingest" in names:
        return None
    try:
        as_of = _check_built(settings, request, before)
    except WarehouseLocked:
        return request.as_of  # the run reports the holder of the lock when it takes the data folder
    if "publish" in before and all(step.group == "science" for step in steps):
        _check_size(settings)
    return as_of


def _check_generated(settings: Settings, request: Request, names: set[str], before: set[str]) -> None:
    landed = _manifest(settings)
    if landed is None or not landed.complete:
        if "generate_history" in before:
            raise LandingError(manifest.NO_HISTORY)
        if "generate_history" not in names:
            given = ", ".join(name.upper() for name in GENERATED if name in request.values)
            raise ChainError(f"{given} is for generated data, and this run generates nothing: leave it out.")
        if landed is None and servers.are_running(settings):
            from duckbook.ingest import sources

            endpoints = servers.connect(settings)
            landed_sources = sources.discover(settings, endpoints, storage.client(endpoints.s3)).sources
            manifest.check_only_generated([source.name for source in landed_sources])
        return
    # Values from the command line are strings.
    values = {name: type(getattr(landed, name))(request.values[name]) for name in GENERATED if name in request.values}
    manifest.check_same_shop(settings, landed, manifest.requested(settings, landed, values, None))
    if request.as_of and "ingest" not in before:
        manifest.check_not_earlier(landed, request.as_of)


def _check_history(settings: Settings, request: Request, generates: bool) -> None:
    """Check that the as-of date does not go back, and that data landed by others are complete."""
    from duckbook.ingest import commit_log, new_sources, sources
    from duckbook.ingest.batches import History

    if not servers.are_running(settings):
        raw_as_of = _raw_as_of(settings)
        if raw_as_of and request.as_of and request.as_of < raw_as_of:
            # Raw is a copy of the history, whose as-of date is the same or later.
            raise IngestError(
                f"The history is as of {raw_as_of} or later, and {request.as_of} is earlier: use {raw_as_of} or later "
                "(AS_OF), or another data folder (DATA=folder). Nothing was ingested."
            )
        if generates or raw_as_of:
            return
        if settings.embedded_postgres and settings.embedded_s3 and not (settings.data / "servers").exists():
            new_sources.check_complete(sources.Landed((), {}), History(), settings)
    if generates and request.as_of is None:
        return
    endpoints = servers.connect(settings)
    client = storage.client(endpoints.s3)
    history = commit_log.read(client, settings.s3_historic_bucket)
    new_sources.check_as_of(request.as_of, (), history)
    if not generates:
        new_sources.check_complete(sources.discover(settings, endpoints, client), history, settings)


def _check_built(settings: Settings, request: Request, before: set[str]) -> date | None:
    """Check that the steps before these have run, as of the requested day, and return that day."""
    as_of, what = None, ""
    if needed := [name for name in BUILT if name in before]:
        from duckbook.backends import warehouse

        with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
            for name in needed:
                schema, relation, notebook = BUILT[name]
                if not _has_tables(connection, schema):
                    raise ChainError(f"There is no {schema} yet: run {notebook} first, or `make pipeline`.")
                as_of, what = _as_of(connection, relation), schema
    if "publish" in before:
        current = _publication(settings)
        as_of = date.fromisoformat(current.as_of) if current.as_of else None
        what = f"the publication {current.run_id}"
    if as_of and request.as_of and request.as_of != as_of:
        later = f"or ingest that day with `make pipeline AS_OF={request.as_of}`"
        raise ChainError(
            f"AS_OF={request.as_of} is wrong: {what} is as of {as_of}, and no step of this run changes that. Leave "
            f"AS_OF out{f', {later}' if request.as_of > as_of else ''}."
        )
    return as_of


def _publication(settings: Settings) -> Publication:
    """The publication that readers use.

    Raises
    ------
    PublishError
        Nothing has been published.
    """
    if settings.target == "lake":
        servers.up(settings)
    if found := publisher.current(settings):
        return found
    # Opening raises if there is none. That of MotherDuck is known only then.
    with publisher.published(settings) as opened:
        return opened.publication


def _check_size(settings: Settings) -> None:
    """Check that the publication has enough customers, as each data science notebook does."""
    from duckbook.analysis import science

    # Without the unknown member.
    customers = _publication(settings).marts.get("dim_customers", 0) - 1
    if customers < science.MIN_CUSTOMERS:
        is_enough = customers >= science.MIN_CUSTOMERS_OWN_DATA
        landed = _manifest(settings) if is_enough else manifest.read_local_copy(settings)
        science.refuse_few(customers, is_generated=landed is not None and landed.complete, who="data science")


def _manifest(settings: Settings) -> Manifest | None:
    """The manifest of the generated landing zone, or None."""
    if not settings.embedded_s3:
        from duckbook.backends import connections

        return manifest.read(settings, Endpoints("", connections.s3_endpoint(settings)))
    if not servers.are_running(settings):
        written = manifest.read_local_copy(settings)
        if written or not (settings.data / "servers").exists():
            return written
    return manifest.read(settings, servers.connect(settings))


def _raw_as_of(settings: Settings) -> date | None:
    """The as-of date of raw in the local warehouse; None if there is none, or another process has it open."""
    if settings.target != "duckdb" or not settings.warehouse_path.exists():
        return None
    from duckbook.backends import warehouse

    try:
        with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
            return _as_of(connection, BUILT["ingest"][1])
    except WarehouseLocked:
        return None


def _has_tables(connection: DuckDBPyConnection, schema: str) -> bool:
    query = "select 1 from duckdb_tables() where schema_name = ? and database_name = current_database() limit 1"
    return connection.execute(query, [schema]).fetchone() is not None


def _as_of(connection: DuckDBPyConnection, relation: str) -> date | None:
    """The as-of date in a table; None if an earlier version of duckbook made it."""
    import duckdb

    try:
        as_of: date | None = (connection.execute(f"select max(as_of) from {relation}").fetchone() or [None])[0]
        return as_of
    except (duckdb.CatalogException, duckdb.BinderException):
        return None
