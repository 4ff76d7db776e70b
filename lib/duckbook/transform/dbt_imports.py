"""dbt, imported with the shapes that it holds its settings against.

dbt works these out at their first use, which takes each process a second and a half; whoever imports this module has
them, and so have the kernels that are split off from it.
"""

from __future__ import annotations

import dbt.cli.main
import dbt.task.build  # noqa: F401
import dbt_common.clients.agate_helper  # noqa: F401
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.contracts.project import Configuration, PackageConfig, ProfileConfig, Project, ProjectFlags
from dbt.contracts.selection import SelectorFile

SHAPES = {
    shape: shape.json_schema()
    for shape in (Configuration, DuckDBCredentials, PackageConfig, ProfileConfig, Project, ProjectFlags, SelectorFile)
}
"""Shape → its JSON schema, which dbt remembers."""
