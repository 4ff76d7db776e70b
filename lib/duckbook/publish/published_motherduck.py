"""The publication on MotherDuck: one set of tables, replaced in one transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from duckbook.backends.motherduck import attach_database, without_token
from duckbook.errors import PublishError
from duckbook.publish.publication import MartQuery, Publication, choose
from duckbook.settings import Settings

if TYPE_CHECKING:
    import duckdb

PUBLISHED = "ecom_published"
"""Schema of the published marts."""

SCHEMA = "ecom_marts"


def publish(
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    marts: dict[str, MartQuery],
    run_id: str,
    as_of: str | None,
    keep: int,
) -> Publication:
    """Replace the published marts with those of ``ecom_marts``, and commit the connection's transaction."""
    rows = {}
    connection.execute(f"create schema if not exists {PUBLISHED}")
    for mart, published in marts.items():
        connection.execute(f"create or replace table {PUBLISHED}.{mart} as {published.query}")
        (rows[mart],) = connection.execute(f"select count(*) from {PUBLISHED}.{mart}").fetchone()
    connection.execute(
        f"create or replace table {PUBLISHED}.publication as "
        "select ?::varchar as run_id, ?::varchar as as_of, ?::varchar as marts, ?::boolean as masked",
        [run_id, as_of, json.dumps(rows), settings.mask_personal],
    )
    connection.execute("commit")
    return Publication(run_id, as_of, rows, settings.mask_personal)


def attach(
    connection: duckdb.DuckDBPyConnection, settings: Settings, as_of: str | None, run_id: str | None
) -> Publication:
    """Create one view per mart of the publication, in the schema ``ecom_marts`` of a local connection.

    Raises
    ------
    PublishError
        Nothing has been published there yet, there is no such publication, or MotherDuck refuses.
    """
    import duckdb

    try:
        database = attach_database(connection, settings)
        published = _read(connection, database)
    except duckdb.Error as error:
        text = without_token(error, settings.motherduck_token.get_secret_value())
        raise PublishError(f"The published marts on MotherDuck cannot be read: {text}.") from None
    publication = choose(published, next(iter(published), None), as_of, run_id)
    for mart in publication.marts:
        connection.execute(f"create view {SCHEMA}.{mart} as select * from {database}.{PUBLISHED}.{mart}")
    return publication


def publications(settings: Settings) -> list[Publication]:
    """Return nothing, so as not to call MotherDuck; `attach` finds its one publication."""
    return []


def current(settings: Settings) -> None:
    """Return None, so as not to call MotherDuck."""
    return None


def roll_back(settings: Settings, run_id: str) -> Publication:
    """Raise: there is no earlier publication.

    Raises
    ------
    PublishError
        Always.
    """
    raise PublishError(
        f"MotherDuck keeps one publication, so {run_id} cannot be restored: publish it again, such as with "
        "`make promote` from a target that still has it."
    )


def remove(settings: Settings, run_id: str) -> None:
    """Remove nothing: the only publication is the current one."""


def _read(connection: duckdb.DuckDBPyConnection, database: str) -> list[Publication]:
    import duckdb

    try:
        rows = connection.execute(
            f"select run_id, as_of, marts, masked from {database}.{PUBLISHED}.publication"
        ).fetchall()
    except duckdb.CatalogException:
        return []
    return [Publication(run_id, as_of, json.loads(marts), masked) for run_id, as_of, marts, masked in rows]
