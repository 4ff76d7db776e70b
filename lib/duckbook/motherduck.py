"""Published marts on MotherDuck: tables of a schema, replaced in one transaction.

What can only be tried with a token stands here and in `warehouse`, apart from everything else. It uses what MotherDuck
documents: schemas, ``create or replace table`` within a transaction, and attaching a database from a local DuckDB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from duckbook.errors import PublishError
from duckbook.settings import Settings

if TYPE_CHECKING:
    import duckdb

PUBLISHED = "ecom_published"
"""Schema of the published marts."""


def publish(
    connection: duckdb.DuckDBPyConnection, marts: dict[str, str], run_id: str, as_of: str | None
) -> dict[str, int]:
    """Replace the published marts by those of ``ecom_marts``, all or none.

    Parameters
    ----------
    marts
        Mart → the query for what is published of it.

    Returns
    -------
    dict
        Rows by mart.
    """
    rows = {}
    connection.execute("begin")
    try:
        connection.execute(f"create schema if not exists {PUBLISHED}")
        for mart, query in marts.items():
            connection.execute(f"create or replace table {PUBLISHED}.{mart} as {query}")
            (rows[mart],) = connection.execute(f"select count(*) from {PUBLISHED}.{mart}").fetchone()
        connection.execute(
            f"create or replace table {PUBLISHED}.publication as select ?::varchar as run_id, ?::varchar as as_of",
            [run_id, as_of],
        )
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return rows


def attach(
    connection: duckdb.DuckDBPyConnection, settings: Settings, schema: str
) -> tuple[str, str | None, dict[str, int]]:
    """Let a local DuckDB read the published marts as views of `schema`.

    Returns
    -------
    tuple
        Id and as-of date of the run that published them, and the rows by mart.

    Raises
    ------
    PublishError
        Nothing has been published there yet, or MotherDuck refuses.
    """
    import duckdb

    token = settings.motherduck_token.get_secret_value()
    database = settings.motherduck_database
    try:
        connection.execute("load motherduck")
        connection.execute("set motherduck_token = ?", [token])
        connection.execute(f"attach 'md:{database}' as {database} (read_only)")
        told = connection.execute(f"select run_id, as_of from {database}.{PUBLISHED}.publication").fetchone()
        names = connection.execute(
            "select table_name, estimated_size from duckdb_tables() where database_name = ? and schema_name = ?",
            [database, PUBLISHED],
        ).fetchall()
    except duckdb.Error as error:
        text = str(error).replace(token, "***").splitlines()[0]
        raise PublishError(f"Published marts of MotherDuck database {database} cannot be read: {text}") from None
    marts = {name: rows for name, rows in sorted(names) if name != "publication"}
    for mart in marts:
        connection.execute(f"create view {schema}.{mart} as select * from {database}.{PUBLISHED}.{mart}")
    return told[0], told[1], marts
