"""The publication on MotherDuck: one set of tables, replaced in one transaction."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from duckbook.backends import motherduck
from duckbook.errors import PublishError
from duckbook.publish.publication import MartQuery, Publication, PublicationBackend, choose
from duckbook.sql import quoted

if TYPE_CHECKING:
    import duckdb

PUBLISHED = "ecom_published"
"""Schema of the published marts."""


class Backend(PublicationBackend):
    """Keeps one publication as tables on MotherDuck."""

    def publish(
        self, connection: duckdb.DuckDBPyConnection, marts: dict[str, MartQuery], new: Publication, keep: int
    ) -> Publication:
        """Replace the published tables, and commit the connection's transaction."""
        rows = {}
        connection.execute(f"create schema if not exists {PUBLISHED}")
        for mart, published in marts.items():
            connection.execute(f"create or replace table {PUBLISHED}.{mart} as {published.query}")
            [(rows[mart],)] = connection.execute(f"select count(*) from {PUBLISHED}.{mart}").fetchall()
        connection.execute(
            f"create or replace table {PUBLISHED}.publication as "
            "select ?::varchar as run_id, ?::varchar as as_of, ?::varchar as marts, ?::boolean as masked",
            [new.run_id, new.as_of, json.dumps(rows), new.masked],
        )
        connection.execute("commit")
        return replace(new, marts=rows)

    def _open(self, connection: duckdb.DuckDBPyConnection, as_of: str | None, run_id: str | None) -> Publication:
        import duckdb

        try:
            database = motherduck.attach_database(connection, self.settings)
            try:
                query = f"select run_id, as_of, marts, masked from {database}.{PUBLISHED}.publication"
                rows = connection.execute(query).fetchall()
            except duckdb.CatalogException:
                rows = []
        except duckdb.Error as error:
            token = self.settings.motherduck_token
            text = motherduck.without_token(error, token.get_secret_value() if token else "")
            raise PublishError(f"The published marts on MotherDuck cannot be read: {text}.") from None
        published = [Publication(name, date, json.loads(marts), masked) for name, date, marts, masked in rows]
        return choose(published, next(iter(published), None), as_of, run_id)

    def _query(self, connection: duckdb.DuckDBPyConnection, publication: Publication, mart: str) -> str:
        return f"select * from {self.settings.motherduck_database}.{PUBLISHED}.{quoted(mart)}"

    def publications(self) -> list[Publication]:
        """Return nothing, so as not to call MotherDuck; `attach` finds its one publication."""
        return []

    def current(self) -> None:
        """Return None, so as not to call MotherDuck."""

    def roll_back(self, run_id: str) -> Publication:
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

    def remove(self, run_id: str) -> None:
        """Remove nothing: the only publication is the current one."""
