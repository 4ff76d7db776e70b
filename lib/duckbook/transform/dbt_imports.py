"""Import dbt and build the JSON schemas that validate its configuration.

dbt builds them at first use, which takes 1.5 s per process. A process that imports this module has them, and so do the
kernels that are forked from it.
"""

from __future__ import annotations

import dbt.cli.main
import dbt.task.build  # noqa: F401
import dbt_common.clients.agate_helper  # noqa: F401
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.contracts.project import Configuration, PackageConfig, ProfileConfig, Project, ProjectFlags
from dbt.contracts.selection import SelectorFile

SCHEMAS = {
    kind: kind.json_schema()
    for kind in (Configuration, DuckDBCredentials, PackageConfig, ProfileConfig, Project, ProjectFlags, SelectorFile)
}
"""Configuration class → its JSON schema, which dbt caches."""
