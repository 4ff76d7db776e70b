"""Schemas of an object's records: their names and types, and whether some of them are unreadable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duckbook.errors import IngestError
from duckbook.ingest import object_formats, rows
from duckbook.ingest.sources import StoredSource
from duckbook.source_tables import source_tables
from duckbook.sql import listed, literal, quoted

if TYPE_CHECKING:
    import duckdb

MAX_COLUMNS = 2_000
"""Maximum number of names in a source; with more, names are probably data."""

TYPED_BYTES = 256 * 2**10
"""Approximate size of the sample from which an object's types are taken."""

JSON_TYPES = {"VARCHAR": "text", "BOOLEAN": "boolean", "OBJECT": "object", "ARRAY": "array", "NULL": None}
"""DuckDB's names of JSON types → ours; every other type is a number."""

BRACKETS = r"""regexp_replace(regexp_replace(json, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^\[\]{{}}]+', '', 'g')"""

INNERMOST = r"(text, _) -> regexp_replace(text, '\[\]|\{{\}}', '', 'g')"

NESTED_TOO_DEEP = (
    f"case when strlen(json) > 2 * {object_formats.MAX_LEVELS} then "
    f"list_reduce(range({object_formats.MAX_LEVELS})::varchar[], {INNERMOST}, {BRACKETS}) != '' else false end"
)
"""SQL for whether any brackets are left after removing the innermost ones `MAX_LEVELS` times."""

IS_RECORD = (
    "coalesce(case when len({keys}) = 0 then json_type(json) = 'OBJECT' else "
    "list_unique(list_transform({keys}, k -> lower(trim(k)))) = len({keys}) "
    f"and len(list_filter({{keys}}, k -> contains(k, chr(0)))) = 0 and not {NESTED_TOO_DEEP} end, false)"
)
"""SQL for whether JSON is an object that can be a row; format it with the SQL of its keys."""


@dataclass(frozen=True)
class Schema:
    """The names and types of an object's records.

    Attributes
    ----------
    variants
        Column → the names that records use for it.
    has_unreadable
        Whether some records are unreadable.
    readable
        SQL for whether a record is readable.
    has_clashes
        Whether `readable` also excludes records with two names of one column.
    """

    variants: dict[str, list[str]]
    types: dict[str, str]
    has_unreadable: bool
    readable: str
    has_clashes: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns of raw."""
        return list(self.variants)

    @property
    def selected(self) -> list[str]:
        """SQL expressions that extract the columns from a record."""
        plain = {name: keys[0] for name, keys in self.variants.items() if len(keys) == 1 and keys[0]}
        transformed = f"json_transform(json, {literal(json.dumps(dict.fromkeys(plain.values(), 'VARCHAR')))})"
        expressions = {name: f"{transformed}[{literal(key)}]" for name, key in plain.items()}
        for name, keys in self.variants.items():
            pointers = (literal("/" + key.replace("~", "~0").replace("/", "~1")) for key in keys)
            values = ", ".join(f"json_extract_string(json, {pointer})" for pointer in pointers)
            expressions.setdefault(name, f"coalesce({values})")
        return [f"{expressions[name]} as {quoted(name)}" for name in self.variants]


def find(connection: duckdb.DuckDBPyConnection, source: StoredSource, opened: object_formats.OpenedObject) -> Schema:
    """Find the names of all records and the types of a sample.

    Names come from every record, because a sample would miss a column that starts late. Records have few distinct sets
    of names, so grouping by them is cheap. Types are expensive, and staging quarantines values of a wrong type anyway.
    """
    one_in = max(1, opened.size // TYPED_BYTES)
    query = _schema_query(f"select json, '' as file from ({opened.records_sql})", one_in)
    _, *row = connection.execute(query).fetchone() or ("", False, [], [], [])
    schema = _schema(source, *row)
    if schema.has_clashes:
        query = f"select bool_or(not {schema.readable}) from ({opened.records_sql})"
        schema = replace(schema, has_unreadable=bool(connection.execute(query).fetchall()[0][0]))
    return schema


def find_each(
    connection: duckdb.DuckDBPyConnection, sources: Mapping[str, StoredSource], records_sql: str
) -> dict[str, Schema]:
    """Find the schemas of several small objects at once, leaving out those that `find` has to check again.

    Parameters
    ----------
    sources
        File → source.
    records_sql
        A query for the records, as JSON in the column `json`, and the `file` of each.
    """
    result = connection.execute(_schema_query(records_sql, 1)).fetchall()
    schemas = {file: _schema(sources[file], *row) for file, *row in result}
    return {file: schema for file, schema in schemas.items() if not schema.has_clashes and not schema.has_unreadable}


def _schema_query(records_sql: str, one_in: int) -> str:
    """Return a query for file, whether some records are unreadable, all names, and names and types of the sample."""
    # Not json_structure: it descends into nested values and crashes the process if they are deep.
    typed = "list_transform(keys, k -> json_type(json, '/' || replace(replace(k, '~', '~0'), '/', '~1')))"
    is_record = IS_RECORD.format(keys="keys")
    return (
        f"with shapes as (select file, json_keys(json) as keys, {is_record} as is_record, case when is_record "
        f"and hash(json) % {one_in} = 0 then {typed} end as types from ({records_sql}) group by all) "
        "select file, bool_or(not is_record), list_sort(list_distinct(flatten(list(keys) filter (is_record)))), "
        "list(keys) filter (types is not null), list(types) filter (types is not null) from shapes group by file"
    )


def _schema(
    source: StoredSource, has_unreadable: bool, names: list[str] | None, keys: list[list[str]], types: list[list[str]]
) -> Schema:
    names = names or []
    if len(names) > MAX_COLUMNS:
        raise IngestError(
            f"{source.name} cannot be read: its records have {len(names):,} different names, more than "
            f"{MAX_COLUMNS:,}. Land records whose names are columns."
        )
    variants: dict[str, list[str]] = {name: [] for name in source_tables()[source.table].column_names}
    for name in names:
        variants.setdefault(rows.column_name(name), []).append(name)
    present = {name: keys_of for name, keys_of in variants.items() if keys_of}
    readable = IS_RECORD.format(keys="json_keys(json)")
    clash = _clash([keys_of for keys_of in present.values() if len(keys_of) > 1])
    if clash:
        readable = f"({readable} and not ({clash}))"
    return Schema(present, _json_types(keys or (), types or ()), bool(has_unreadable), readable, bool(clash))


def _clash(groups: Iterable[list[str]]) -> str:
    """Return SQL for whether a record has two names of one column; empty if that is impossible.

    `IS_RECORD` already finds names that differ only in case or spaces, as far as DuckDB and Python agree on case.
    """
    groups = [
        keys for keys in groups if not all(map(str.isascii, keys)) or len({k.strip(" ").lower() for k in keys}) > 1
    ]
    return " or ".join(f"len(list_filter(json_keys(json), k -> k in {listed(keys)})) > 1" for keys in groups)


def _json_types(keys: Iterable[list[str]], types: Iterable[list[str]]) -> dict[str, str]:
    """Return column → types, joined by "or" in alphabetical order."""
    types_of: dict[str, set[str]] = {}
    for names, kinds in zip(keys, types, strict=True):
        for name, kind in zip(names, kinds, strict=True):
            if word := JSON_TYPES.get(kind, "number"):
                types_of.setdefault(rows.column_name(name), set()).add(word)
    return {name: " or ".join(sorted(words)) for name, words in sorted(types_of.items())}
