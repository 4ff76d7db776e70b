"""Connections to Postgres by psycopg2, in autocommit, with statements run on the connection itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg2
import psycopg2.extensions
from psycopg2 import sql


class Connection(psycopg2.extensions.connection):
    """A psycopg2 connection that also runs statements itself; ``with connection:`` is a transaction."""

    def execute(
        self, statement: str | sql.Composable, values: Sequence | Mapping | None = None
    ) -> psycopg2.extensions.cursor:
        """Run one statement in a new cursor, and return the cursor."""
        cursor = self.cursor()
        cursor.execute(statement, values)
        return cursor


def connect(dsn: str, **options: object) -> Connection:
    """Open a connection in autocommit; the options are libpq's.

    Raises
    ------
    psycopg2.OperationalError
        Postgres does not answer, or does not let us in.
    """
    connection = psycopg2.connect(dsn, connection_factory=Connection, application_name="duckbook", **options)
    connection.autocommit = True
    return connection
