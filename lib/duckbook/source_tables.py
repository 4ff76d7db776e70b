"""The source tables: system, key, columns, types and casts.

The dbt project defines them once, in ``dbt/models/staging/_sources.yml`` and ``dbt/macros``. This module reads those
files for generation, landing and ingestion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from duckbook.errors import TransformError
from duckbook.settings import ROOT

if TYPE_CHECKING:
    import jinja2

SOURCES_FILE = ROOT / "dbt" / "models" / "staging" / "_sources.yml"


@dataclass(frozen=True)
class Column:
    """A column of a source table; `data_type` is the DuckDB type that staging casts to.

    A `personal` column identifies a person and is masked in published data. When a person is erased, their `personal`
    and `erased` columns are removed.
    """

    name: str
    data_type: str
    description: str
    added: bool = False
    personal: bool = False
    erased: bool = False


@dataclass(frozen=True)
class SourceTable:
    """A source table; `key` names the columns that identify a record.

    With `derived_key`, a record without a key is valid and its key is derived from its content. A test warns when the
    newest batch is more than `fresh_within_days` older than the as-of date.
    """

    name: str
    description: str
    system: Literal["s3", "postgres"]
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    update_time: str | None = None
    required: bool = False
    derived_key: bool = False
    fresh_within_days: int | None = None

    @property
    def column_names(self) -> tuple[str, ...]:
        """Column names in the order of the definition."""
        return tuple(column.name for column in self.columns)

    @property
    def erased(self) -> tuple[str, ...]:
        """Columns to remove when the person of a row is erased."""
        return tuple(column.name for column in self.columns if column.personal or column.erased)


@lru_cache(maxsize=1)
def source_tables() -> dict[str, SourceTable]:
    """Return the eight source tables by name, in the order of the definition."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    (source,) = yaml.load(SOURCES_FILE.read_text("utf-8"), Loader=loader)["sources"]
    return {
        table["name"]: SourceTable(
            name=table["name"],
            description=table["description"],
            columns=tuple(_column(column) for column in table["columns"]),
            **{**table["meta"], "key": tuple(table["meta"]["key"])},
        )
        for table in source["tables"]
        if "system" in table.get("meta", {})
    }


class _Exceptions:
    """dbt's ``exceptions``, for macros that refuse an argument."""

    @staticmethod
    def raise_compiler_error(message: str) -> None:
        raise TransformError(message)


@lru_cache(maxsize=1)
def _macros(folder: Path) -> jinja2.Environment:
    import jinja2

    loader = jinja2.FileSystemLoader(folder)
    environment = jinja2.Environment(loader=loader, extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    environment.globals["exceptions"] = _Exceptions
    return environment


def macro(file: str, name: str, *arguments: object) -> str:
    """Return the SQL of a macro of the dbt project, for uses outside dbt.

    The macro may call the others of its file, and of dbt only ``exceptions``.

    Raises
    ------
    TransformError
        The macro refuses an argument, such as a type that it cannot cast to.
    """
    template = _macros(SOURCES_FILE.parents[2] / "macros").get_template(file)
    return str(getattr(template.module, name)(*arguments))


def cast(expression: str, data_type: str) -> str:
    """Return SQL that casts a text as staging does; null if it is blank or cannot be cast."""
    return macro("casts.sql", "as_type", expression, data_type)


def _column(column: dict[str, Any]) -> Column:
    return Column(column["name"], column["data_type"], column["description"], **column.get("meta", {}))
