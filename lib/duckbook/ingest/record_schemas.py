"""The shapes of an object's records: the names and types that they use, and whether some of them are no records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from duckbook.errors import IngestError
from duckbook.ingest import object_formats, rows
from duckbook.ingest.sources import StoredSource
from duckbook.source_tables import source_tables
from duckbook.sql import listed, literal, quoted

MOST_COLUMNS = 2_000
"""A source whose records have more names between them uses its names as data."""

TYPED_BYTES = 256 * 2**10
"""The types of an object are told from as many of its records as make up about so many bytes."""

JSON_TYPES = {"VARCHAR": "text", "BOOLEAN": "boolean", "OBJECT": "object", "ARRAY": "array", "NULL": None}
"""What DuckDB calls the types of JSON → what they are called here; any other one is a number."""

BRACKETS = r"""regexp_replace(regexp_replace(json, '"(?:[^"\\]|\\.)*"', '', 'g'), '[^\[\]{{}}]+', '', 'g')"""

INNERMOST = r"(text, _) -> regexp_replace(text, '\[\]|\{{\}}', '', 'g')"

NESTED_TOO_DEEP = (
    f"case when strlen(json) > 2 * {object_formats.MOST_LEVELS} then "
    f"list_reduce(range({object_formats.MOST_LEVELS})::varchar[], {INNERMOST}, {BRACKETS}) != '' else false end"
)
"""Whether something is left of a record's brackets when the innermost ones have been taken away so many times."""

IS_RECORD = (
    "coalesce(case when len({keys}) = 0 then json_type(json) = 'OBJECT' else "
    "list_unique(list_transform({keys}, k -> lower(trim(k)))) = len({keys}) "
    f"and len(list_filter({{keys}}, k -> contains(k, chr(0)))) = 0 and not {NESTED_TOO_DEEP} end, false)"
)
"""Whether JSON is an object that can be a row, as SQL; to be formatted with its keys."""


@dataclass(frozen=True)
class Shapes:
    """The names that the records of an object use, and whether some cannot be read.

    `readable` says of a record whether it can, as SQL; `readable_here` that this says more of these than of any.
    """

    variants: dict[str, list[str]]
    types: dict[str, str]
    faulty: bool
    readable: str
    readable_here: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that raw is to keep."""
        return list(self.variants)

    @property
    def selected(self) -> list[str]:
        """The expressions that take the columns out of a record."""
        plain = {name: keys[0] for name, keys in self.variants.items() if len(keys) == 1 and keys[0]}
        transformed = f"json_transform(json, {literal(json.dumps(dict.fromkeys(plain.values(), 'VARCHAR')))})"
        taken = {name: f"{transformed}[{literal(key)}]" for name, key in plain.items()}
        for name, keys in self.variants.items():
            pointers = (literal("/" + key.replace("~", "~0").replace("/", "~1")) for key in keys)
            found = ", ".join(f"json_extract_string(json, {pointer})" for pointer in pointers)
            taken.setdefault(name, f"coalesce({found})")
        return [f"{taken[name]} as {quoted(name)}" for name in self.variants]


def find(connection, source: StoredSource, opened: object_formats.Opened) -> Shapes:
    """Ask every record for its names: a sample would miss a column that begins late.

    The records of one program have few shapes, so what is asked of each shape costs nothing. Types cost more to ask
    for than all else, and what a type breaks is set aside row by row anyway: of a large object, some records tell them.
    """
    one_in = max(1, opened.size // TYPED_BYTES)
    query = _asked(f"select json, '' as file from ({opened.records_sql})", one_in)
    _, *told = connection.execute(query).fetchone() or ("", False, [], [], [])
    found = _shapes(source, *told)
    if found.readable_here:
        query = f"select bool_or(not {found.readable}) from ({opened.records_sql})"
        found = replace(found, faulty=bool(connection.execute(query).fetchone()[0]))
    return found


def find_each(connection, sources: Mapping[str, StoredSource], records_sql: str) -> dict[str, Shapes]:
    """As `find`, of several small objects at once; without those of which a second look is needed.

    Parameters
    ----------
    sources
        File → source.
    records_sql
        A query for the records, as JSON in the column `json`, and the `file` of each.
    """
    found = connection.execute(_asked(records_sql, 1)).fetchall()
    shapes = {file: _shapes(sources[file], *told) for file, *told in found}
    return {file: shape for file, shape in shapes.items() if not shape.readable_here and not shape.faulty}


def _asked(records_sql: str, one_in: int) -> str:
    """A query for file, whether some records are none, the names, and the names and types of typed shapes."""
    # Not by json_structure, which goes down into what is nested, and ends the process where that is deep.
    typed = "list_transform(keys, k -> json_type(json, '/' || replace(replace(k, '~', '~0'), '/', '~1')))"
    is_record = IS_RECORD.format(keys="keys")
    return (
        f"with shapes as (select file, json_keys(json) as keys, {is_record} as is_record, case when is_record "
        f"and hash(json) % {one_in} = 0 then {typed} end as types from ({records_sql}) group by all) "
        "select file, bool_or(not is_record), list_sort(list_distinct(flatten(list(keys) filter (is_record)))), "
        "list(keys) filter (types is not null), list(types) filter (types is not null) from shapes group by file"
    )


def _shapes(source: StoredSource, faulty: bool, names: list[str] | None, keys: list, types: list) -> Shapes:
    names = names or []
    if len(names) > MOST_COLUMNS:
        raise IngestError(
            f"{source.name} cannot be read: its records have {len(names):,} names between them, more than "
            f"{MOST_COLUMNS:,}. Land records that have the columns as their names."
        )
    variants: dict[str, list[str]] = {name: [] for name in source_tables()[source.table].column_names}
    for name in names:
        variants.setdefault(rows.column_name(name), []).append(name)
    given = {name: found for name, found in variants.items() if found}
    readable = IS_RECORD.format(keys="json_keys(json)")
    clash = _clash([found for found in given.values() if len(found) > 1])
    if clash:
        readable = f"({readable} and not ({clash}))"
    return Shapes(given, _json_types(keys or (), types or ()), bool(faulty), readable, bool(clash))


def _clash(groups: Iterable[list[str]]) -> str:
    """Whether a record has two names of one column, as SQL; empty where the names themselves rule that out.

    Names that differ in case or spaces alone are told apart by `IS_RECORD`, as far as DuckDB and Python agree on case.
    """
    apart = [
        keys for keys in groups if not all(map(str.isascii, keys)) or len({k.strip(" ").lower() for k in keys}) > 1
    ]
    return " or ".join(f"len(list_filter(json_keys(json), k -> k in {listed(keys)})) > 1" for keys in apart)


def _json_types(keys: Iterable[list[str]], types: Iterable[list[str]]) -> dict[str, str]:
    """Column → its types in records of these names and types; several are joined in the order of the alphabet."""
    found: dict[str, set[str]] = {}
    for names, kinds in zip(keys, types, strict=True):
        for name, kind in zip(names, kinds, strict=True):
            if word := JSON_TYPES.get(kind, "number"):
                found.setdefault(rows.column_name(name), set()).add(word)
    return {name: " or ".join(sorted(words)) for name, words in sorted(found.items())}
