"""Connections to Postgres for tests: psycopg2's, which also run statements themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions


class Connection(psycopg2.extensions.connection):
    def execute(self, statement, values=None) -> psycopg2.extensions.cursor:
        cursor = self.cursor()
        cursor.execute(statement, values)
        return cursor


@contextlib.contextmanager
def connect(dsn: str, *, autocommit: bool = False, **options) -> Iterator[Connection]:
    """A connection that is closed at the end; what was written is committed then, or at once."""
    with contextlib.closing(psycopg2.connect(dsn, connection_factory=Connection, **options)) as connection:
        connection.autocommit = autocommit
        with contextlib.nullcontext() if autocommit else connection:
            yield connection
