"""Publish the marts, so that readers see complete, tested results and do not lock the warehouse.

This module decides what may be published. The target decides how a publication is kept: as files behind a pointer
(`published_files`), as a pinned snapshot of the shared lake (`published_snapshots`), or as tables on MotherDuck that
are replaced in one transaction (`published_motherduck`). Personal columns are masked unless a setting says otherwise.
"""

from __future__ import annotations

import importlib
import json
import os
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, cast

from duckbook.backends import clock
from duckbook.errors import PublishError
from duckbook.publish.publication import SCHEMA, MartQuery, Publication, PublicationBackend
from duckbook.settings import Settings
from duckbook.sql import PARQUET, literal
from duckbook.transform import contracts, masking

if TYPE_CHECKING:
    import duckdb

INTERNAL = {"reconciliation"}
"""Tables of the schema that are not marts but serve their tests."""

BAD = {"fail", "error", "runtime error", "skipped"}
"""Statuses of dbt with which marts are not published."""

BACKENDS = {"duckdb": "published_files", "lake": "published_snapshots", "motherduck": "published_motherduck"}
"""Target → the module of its `PublicationBackend`."""


@dataclass(frozen=True)
class Published:
    """Open published marts, to be read as ``ecom_marts.MART`` on `connection`; a context manager that closes it."""

    connection: duckdb.DuckDBPyConnection
    publication: Publication

    def __enter__(self) -> Published:
        return self

    def __exit__(self, *_error: object) -> None:
        self.connection.close()


def publish(settings: Settings, run_id: str | None = None, *, keep: int = 5) -> Publication:
    """Publish the marts of the warehouse.

    Parameters
    ----------
    run_id
        The run that publishes; None: the run of the chain, or outside the chain a name made of the time.
    keep
        How many publications to keep, including this one.

    Raises
    ------
    PublishError
        There are no marts, or their tests did not pass; the current publication stays.
    QuarantineError
        More rows are quarantined than the settings allow.
    WarehouseLocked
        Another process has the warehouse open for writing.
    """
    from duckbook.backends import warehouse

    run_id = run_id or os.environ.get("DUCKBOOK_RUN_ID") or f"lab-{clock.now()[:19].replace(':', '')}"
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        # One transaction: what is checked is what is published, whatever others write.
        connection.execute("begin")
        names = _marts(connection)
        _refuse_untested(settings, connection)
        contract, masked = contracts.load_marts(settings), settings.mask_personal
        queries = masking.mart_queries(connection, SCHEMA, names, contract, masked=masked)
        marts = {
            mart: MartQuery(query, contract[mart].sorted_by, contract[mart].personal if masked else ())
            for mart, query in queries.items()
        }
        new = Publication(run_id, str(built_as_of(connection)), {}, masked)
        return _backend(settings).publish(connection, marts, new, keep)


def published(settings: Settings, as_of: str | None = None, run_id: str | None = None) -> Published:
    """Open a publication: an in-memory DuckDB with one view per mart, which locks nothing.

    Parameters
    ----------
    as_of
        The as-of date (ISO) of the publication; None: the current one.
    run_id
        The name of the publication, instead of its date.

    Raises
    ------
    PublishError
        Nothing has been published yet, and the sentence names the notebook to run; or there is no such publication.
    """
    from duckbook.backends import warehouse

    connection = warehouse.engine(settings)
    try:
        connection.execute(f"create schema {SCHEMA}")
        publication = _backend(settings).attach(connection, as_of, run_id)
    except BaseException:
        connection.close()
        raise
    return Published(connection, publication)


def parquet_files(settings: Settings, published: Published, folder: Path) -> dict[str, Path]:
    """Mart → its Parquet file: that of the publication, or one written into `folder` if it is not kept as files."""
    from duckbook.publish import published_files

    own = published_files.Backend(settings).folder / published.publication.run_id
    if settings.target == "duckdb":
        return {mart: own / f"{mart}.parquet" for mart in published.publication.marts}
    files = {mart: folder / f"{mart}.parquet" for mart in published.publication.marts}
    for mart, file in files.items():
        query = f"copy (select * from {SCHEMA}.{mart} order by all) to {literal(str(file))}"
        published.connection.execute(f"{query} {PARQUET}")
    return files


def publications(settings: Settings) -> list[Publication]:
    """List the publications, newest first."""
    return _backend(settings).publications()


def current(settings: Settings) -> Publication | None:
    """Return the publication that readers get by default, or None."""
    return _backend(settings).current()


def roll_back(settings: Settings, run_id: str) -> Publication:
    """Make an earlier publication the current one.

    Raises
    ------
    PublishError
        There is no such publication, or it lacks a file.
    """
    return _backend(settings).roll_back(run_id)


def remove(settings: Settings, run_id: str) -> None:
    """Remove a publication, unless it is the current one."""
    _backend(settings).remove(run_id)


def _backend(settings: Settings) -> PublicationBackend:
    # Imported by name: reading the state of a local publication must not import DuckDB.
    module = importlib.import_module(f"duckbook.publish.{BACKENDS[settings.target]}")
    return cast(PublicationBackend, module.Backend(settings))


def _marts(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "select table_name from information_schema.tables "
        "where table_schema = ? and table_catalog = current_database() order by table_name",
        [SCHEMA],
    ).fetchall()
    marts = [name for (name,) in rows if name not in INTERNAL and not name.startswith("_")]
    if not marts:
        raise PublishError(
            "The warehouse holds no marts: run notebooks/pipeline/06_marts.ipynb first, or `make pipeline`."
        )
    return marts


def built_as_of(connection: duckdb.DuckDBPyConnection) -> date:
    """The as-of date with which the marts of a warehouse were built, whatever was ingested since.

    Raises
    ------
    PublishError
        They were built by a version that did not record it.
    """
    import duckdb

    try:
        [(as_of,)] = connection.execute(f"select max(as_of) from {SCHEMA}.reconciliation").fetchall()
    except (duckdb.BinderException, duckdb.CatalogException):
        as_of = None
    if as_of is None:
        raise PublishError("The marts have no as-of date: build them with `make pipeline FROM=staging`.")
    return cast(date, as_of)


def _refuse_untested(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Raise unless the newest build passed its tests, the marts reconcile and the quarantine is within its limit."""
    from duckbook.transform import dbt_runner, quarantine, reconciliation

    try:
        results = json.loads((dbt_runner.target(settings) / "layers" / "marts.json").read_text("utf-8"))["results"]
    except (OSError, ValueError, KeyError):
        results = []
    if not results:
        raise PublishError(
            "The marts have not been tested: run notebooks/pipeline/06_marts.ipynb first, or `make pipeline`."
        )
    failed = sorted(result["unique_id"].split(".")[2] for result in results if result["status"] in BAD)
    if failed:
        raise PublishError(
            f"Tests of the marts did not pass: {', '.join(failed[:5])}. "
            "Fix them and run notebooks/pipeline/06_marts.ipynb."
        )
    if unequal := reconciliation.differences(reconciliation.marts(connection)):
        raise PublishError(f"Marts differ from staging: {unequal}. Run notebooks/pipeline/06_marts.ipynb to see why.")
    quarantine.enforce_limit(connection, settings)
