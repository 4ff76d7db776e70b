"""Publishing the marts: readers see whole, tested results and hold no lock on the warehouse.

What may be published is decided here; how a publication is kept depends on the target: as files behind a pointer
(`published_files`), as a pinned snapshot of the shared lake (`published_snapshots`), or as tables of a schema of
MotherDuck that is switched in one transaction (`motherduck`). Personal columns are masked unless a setting says
otherwise.
"""

from __future__ import annotations

import importlib
import json
import os
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook.backends import clock
from duckbook.errors import PublishError
from duckbook.publish.publication import Keeper, Outgoing, Publication
from duckbook.settings import Settings
from duckbook.sql import PARQUET, literal
from duckbook.transform import contracts, masking

if TYPE_CHECKING:
    import duckdb

SCHEMA = "ecom_marts"

INTERNAL = {"reconciliation"}
"""Tables beside the marts that serve their tests."""

BAD = {"fail", "error", "runtime error", "skipped"}
"""Statuses of dbt after which marts are not published."""


KEPT_BY = {"duckdb": "published_files", "lake": "published_snapshots", "motherduck": "published_motherduck"}
"""Target → the module that keeps its publications, a `Keeper`."""


@dataclass(frozen=True)
class Published:
    """The published marts, open to be read as ``ecom_marts.MART`` on `connection`; a context that closes it."""

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
        The run that publishes; None: the one that the chain's environment names, or a name by the time.
    keep
        How many publications stay, this one included.

    Raises
    ------
    PublishError
        There are no marts, or their tests did not pass; what is published stays as it was.
    QuarantineError
        More rows are quarantined than the setting lets pass.
    WarehouseLocked
        Another process has the warehouse open for writing.
    """
    from duckbook.backends import warehouse

    run_id = run_id or os.environ.get("DUCKBOOK_RUN_ID") or f"lab-{clock.now()[:19].replace(':', '')}"
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        # One transaction, so that what is looked at is what is published, whoever else writes.
        connection.execute("begin")
        names = _marts(connection)
        _refuse_untested(settings, connection)
        declared, masked = contracts.load_marts(settings), settings.mask_personal
        queries = masking.mart_queries(connection, SCHEMA, names, declared, masked=masked)
        marts = {
            mart: Outgoing(query, declared[mart].sorted_by, declared[mart].personal if masked else ())
            for mart, query in queries.items()
        }
        as_of = str(built_as_of(connection))
        return _keeper(settings).publish(settings, connection, marts, run_id, as_of, keep)


def published(settings: Settings, as_of: str | None = None, run_id: str | None = None) -> Published:
    """Open a publication: an in-memory DuckDB with a view a mart, which locks nothing.

    Parameters
    ----------
    as_of
        The as-of date (ISO) of the publication that is taken; None: the current one.
    run_id
        The name of the publication that is taken instead.

    Raises
    ------
    PublishError
        Nothing has been published yet; the sentence names the notebook to run first. Or none of that date is kept.
    """
    from duckbook.backends import warehouse

    connection = warehouse.engine(settings)
    try:
        connection.execute(f"create schema {SCHEMA}")
        publication = _keeper(settings).attach(connection, settings, as_of, run_id)
    except BaseException:
        connection.close()
        raise
    return Published(connection, publication)


def files(settings: Settings, published: Published, folder: Path) -> dict[str, Path]:
    """Each mart of an open publication as a Parquet file: its own, or one that is written into `folder`."""
    from duckbook.publish import published_files

    own = published_files.folder_of(settings, published.publication)
    found = {mart: (own or folder) / f"{mart}.parquet" for mart in published.publication.marts}
    for mart, file in () if own else found.items():
        query = f"copy (select * from {SCHEMA}.{mart} order by all) to {literal(str(file))}"
        published.connection.execute(f"{query} {PARQUET}")
    return found


def publications(settings: Settings) -> list[Publication]:
    """The publications that are kept, newest first."""
    return list(_keeper(settings).publications(settings))


def current(settings: Settings) -> Publication | None:
    """The publication that readers take, or None."""
    return _keeper(settings).current(settings)


def roll_back(settings: Settings, run_id: str) -> Publication:
    """Point readers at an earlier publication.

    Raises
    ------
    PublishError
        It is not kept, or not whole.
    """
    return _keeper(settings).roll_back(settings, run_id)


def remove(settings: Settings, run_id: str) -> None:
    """Let a publication go; the current one stays."""
    _keeper(settings).remove(settings, run_id)


def _keeper(settings: Settings) -> Keeper:
    # Imported by name, because a look at the files of a local publication is to load no DuckDB.
    return importlib.import_module(f"duckbook.publish.{KEPT_BY[settings.target]}")


def _marts(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "select table_name from information_schema.tables "
        "where table_schema = ? and table_catalog = current_database() order by table_name",
        [SCHEMA],
    ).fetchall()
    marts = [name for (name,) in rows if name not in INTERNAL and not name.startswith("_")]
    if not marts:
        raise PublishError("The warehouse holds no marts: run 06_marts.ipynb first, or `make pipeline`.")
    return marts


def built_as_of(connection: duckdb.DuckDBPyConnection) -> date:
    """The as-of date that the marts of a warehouse were built with, whatever was ingested since.

    Raises
    ------
    PublishError
        They were built by a version that did not say.
    """
    import duckdb

    try:
        (as_of,) = connection.execute(f"select max(as_of) from {SCHEMA}.reconciliation").fetchone()
    except (duckdb.BinderException, duckdb.CatalogException):
        as_of = None
    if as_of is None:
        raise PublishError("The marts do not say of which day they are: build them by `make pipeline FROM=staging`.")
    return as_of


def _refuse_untested(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Only marts whose newest build passed all its tests, and that add up, are published."""
    from duckbook.transform import quarantine, reconciliation

    results = _artifact(settings, "layers/marts.json").get("results")
    if not results:
        raise PublishError("The marts have not been tested: run 06_marts.ipynb first, or `make pipeline`.")
    failed = sorted(result["unique_id"].split(".")[2] for result in results if result["status"] in BAD)
    if failed:
        raise PublishError(
            f"Tests of the marts did not pass: {', '.join(failed[:5])}. Fix them and run 06_marts.ipynb."
        )
    if unequal := reconciliation.differences(reconciliation.marts(connection)):
        raise PublishError(f"Marts differ from staging: {unequal}. Run 06_marts.ipynb and see why.")
    quarantine.enforce_limit(connection, settings)


def _artifact(settings: Settings, name: str) -> dict[str, Any]:
    """One of the files in which dbt tells what it did, in the folder that `transform` gives it."""
    from duckbook.transform import dbt_runner

    try:
        return json.loads((dbt_runner.target(settings) / name).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
