"""Connections to Postgres with psycopg2, in autocommit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

ALIVE: dict[str, Any] = {
    "application_name": "duckbook",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""Keepalives detect a vanished server within a minute; without them libpq waits for hours."""


class Connection(psycopg2.extensions.connection):
    """A psycopg2 connection with an `execute` method; ``with connection:`` is a transaction."""

    def __exit__(self, *error: Any) -> None:
        """End the transaction, unless the connection is lost: then there is nothing to roll back."""
        if not self.closed:
            super().__exit__(*error)

    def execute(
        self, statement: str | sql.Composable, values: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> psycopg2.extensions.cursor:
        """Execute a statement in a new cursor, and return the cursor."""
        cursor = self.cursor()
        cursor.execute(statement, values)
        return cursor


def connect(dsn: str, **options: Any) -> Connection:
    """Open a connection in autocommit; `options` are libpq's.

    Raises
    ------
    psycopg2.OperationalError
        Postgres does not answer, or does not accept the connection.
    """
    connection: Connection = psycopg2.connect(dsn, connection_factory=Connection, **ALIVE, **options)
    connection.autocommit = True
    return connection
