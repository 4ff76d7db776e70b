"""The source tables: system, key, columns and types.

They are defined once, in ``dbt/models/staging/_sources.yml``, where dbt documents and casts them. This module
reads that file for generation, landing and ingestion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import yaml

from duckbook.settings import ROOT

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


def cast_to(column: Column) -> str:
    """Return the SQL that casts a text, ``{0}``, to the type of a column, or nothing for a text column.

    dbt's macros/casts.sql has the same casts; a test compares the two.
    """
    kind = column.data_type
    number = "replace({0}, '_', '?')"
    if kind == "integer":
        decimal = f"try_cast({number} as decimal(38, 18))"
        return (
            f"case when {decimal} % 1 = 0 and not regexp_matches({{0}}, '[eE]-|[.][0-9]{{{{19}}}}') "
            f"then try_cast({decimal} as integer) end"
        )
    if kind == "boolean":
        return "case when {0} in ('1.0', '0.0') then {0} = '1.0' else try_cast({0} as boolean) end"
    if kind == "timestamp":
        day = "[0-9]{{4}}[-/][0-9]{{1,2}}[-/][0-9]{{1,2}}"
        time = "[ T]+[0-9]{{1,2}}:[0-9]{{1,2}}(:[0-9]{{1,2}}([.][0-9]+)?)?"
        offset = "(Z|[+-][01][0-9](:?[0-5][0-9])?| UTC)"
        short = f"^({day}[ T]+[0-9]{{{{1,2}}}}:[0-9]{{{{1,2}}}})(Z|[+-]| UTC)"
        zoned = f"try_cast(regexp_replace({{0}}, '{short}', '\\1:00\\2') as timestamptz) at time zone 'UTC'"
        cast = (
            f"case when regexp_full_match({{0}}, '{day}({time})?') then try_cast({{0}} as timestamp) "
            f"when regexp_full_match({{0}}, '{day}{time}{offset}') then {zoned} end"
        )
        return f"case when year({cast}) between 1900 and 2199 then {cast} end"
    if kind == "varchar":
        return ""
    small = f"try_cast(try_cast({number} as decimal(38, 18)) as {kind})"
    return f"case when contains(lower({{0}}), 'e') then {small} else try_cast({number} as {kind}) end"


def timestamp(text: str) -> str:
    """Return an SQL expression that parses a timestamp as staging does: in UTC, null if it is not one."""
    return cast_to(Column("", "timestamp", "")).format(text)


def _column(column: dict[str, Any]) -> Column:
    return Column(column["name"], column["data_type"], column["description"], **column.get("meta", {}))
