"""What dbt attaches the shared lake by: a plugin of dbt-duckdb that profiles.yml names.

It takes the settings and the servers as everything else does, so that the profile holds no credential, and `dbt build`
typed in ``dbt/`` reaches the same lake as the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dbt.adapters.duckdb.plugins import BasePlugin

from duckbook.backends import servers, warehouse
from duckbook.settings import Settings, settings

_given: list[Settings] = []


@contextmanager
def settings_of(chosen: Settings) -> Iterator[None]:
    """Let dbt, while the block runs, attach the lake of these settings and not of the environment's."""
    _given.append(chosen)
    try:
        yield
    finally:
        _given.pop()


class Plugin(BasePlugin):
    """Attaches the lake to the connection that dbt works with."""

    def configure_connection(self, conn) -> None:
        """Attach it, before dbt attaches what the profile says, which is then there."""
        chosen = _given[-1] if _given else settings()
        warehouse.use_lake(conn, chosen, servers.up(chosen))
