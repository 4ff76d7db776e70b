"""Connections whose cursors begin in the same database: DuckDB's own begin in the one that was opened.

``use lake`` holds for one connection alone, and jupysql runs each statement on a cursor of its own. Where the warehouse
is attached and not opened, `Within` makes a name such as ``ecom_marts.dim_customers`` mean the same on every cursor.
"""

from __future__ import annotations

from typing import Any

import duckdb


class Within:
    """A DuckDB connection, and its cursors, within an attached database; a context that closes it.

    Parameters
    ----------
    connection
        The connection; everything but `cursor` is its own.
    database
        The database that unqualified names mean.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, database: str):
        connection.execute(f"use {database}")
        self._connection, self._database = connection, database

    def cursor(self) -> Within:
        """Another connection to the same engine, within the same database."""
        return Within(self._connection.cursor(), self._database)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __enter__(self) -> Within:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
