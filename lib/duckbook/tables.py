"""The source tables: their system, key, columns and types.

They are defined once, in ``dbt/models/staging/_sources.yml``, where dbt documents and casts them; this module
reads that file for generation, landing and ingestion, so that no second list can drift from the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import yaml

from duckbook.settings import ROOT

SOURCES_FILE = ROOT / "dbt" / "models" / "staging" / "_sources.yml"


@dataclass(frozen=True)
class Column:
    """A column of a source table; `data_type` is DuckDB's name of the type that staging casts to.

    One that is `personal` tells who a person is, and is masked in what is published; that, and one that is `erased`,
    goes when the person is forgotten.
    """

    name: str
    data_type: str
    description: str
    added: bool = False
    personal: bool = False
    erased: bool = False


@dataclass(frozen=True)
class SourceTable:
    """A source table; `key` names the columns that tell one record from another.

    Where `derived_key` is set, a record without a key is a record all the same, and told apart by its content. A test
    warns when the newest batch is more than `fresh_within_days` older than the as-of date.
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
        """The names in the order of the definition."""
        return tuple(column.name for column in self.columns)

    @property
    def erased(self) -> tuple[str, ...]:
        """The columns that go when the person of a row is forgotten."""
        return tuple(column.name for column in self.columns if column.personal or column.erased)


@lru_cache(maxsize=1)
def source_tables() -> dict[str, SourceTable]:
    """The eight source tables by name, in the order of the definition."""
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


def _column(column: dict) -> Column:
    return Column(column["name"], column["data_type"], column["description"], **column.get("meta", {}))
