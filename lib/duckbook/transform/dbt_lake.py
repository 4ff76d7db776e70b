"""Plugin of dbt-duckdb, named in profiles.yml, that attaches the shared lake.

It reads the settings and finds the servers as the rest of the library does. So the profile holds no credential, and
`dbt build` typed in ``dbt/`` reaches the same lake as the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dbt.adapters.duckdb.plugins import BasePlugin

from duckbook.backends import servers, warehouse
from duckbook.settings import Settings, settings

_active: list[Settings] = []


@contextmanager
def use_settings(chosen: Settings) -> Iterator[None]:
    """Make dbt attach the lake of these settings instead of the environment's, inside the block."""
    _active.append(chosen)
    try:
        yield
    finally:
        _active.pop()


class Plugin(BasePlugin):
    """Attach the lake to dbt's connection."""

    def configure_connection(self, conn) -> None:
        """Attach the lake before dbt processes the profile's attachments, which then exist already."""
        chosen = _active[-1] if _active else settings()
        warehouse.use_lake(conn, chosen, servers.up(chosen))
