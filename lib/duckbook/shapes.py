"""The shapes of an object's records: the names and types that they use, and whether some of them are no records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from duckbook import objects, rows
from duckbook.errors import IngestError
from duckbook.rows import literal, quoted
from duckbook.sources import StoredSource
from duckbook.tables import source_tables

MOST_COLUMNS = 2_000
"""A source whose records have more names between them uses its names as data."""

TYPED_BYTES = 256 * 2**10
"""The types of an object are told from as many of its records as make up about so many bytes."""

JSON_TYPES = {"VARCHAR": "text", "BOOLEAN": "boolean", "JSON": "object", "{": "object", "[": "array", "NULL": None}
"""What DuckDB calls the types of JSON → what they are called here; any other one is a number."""


@dataclass(frozen=True)
class Shapes:
    """The names that the records of an object use, and whether some cannot be read."""

    variants: dict[str, list[str]]
    types: dict[str, str]
    faulty: bool
    readable: str

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


def find(connection, source: StoredSource, opened: objects.Opened) -> Shapes:
    """Ask every record for its names: a sample would miss a column that begins late.

    The records of one program have few shapes, so what is asked of each shape costs nothing. Types cost more to ask
    for than all else, and what a type breaks is set aside row by row anyway: of a large object, some records tell them.
    """
    bare = "case len(keys) when 0 then json_type(json) = 'OBJECT' end"
    twice = "list_unique(list_transform({}, lambda k: lower(trim(k)))) < len({})"
    one_in = max(1, opened.size // TYPED_BYTES)
    structure = f"case when json is not null and hash(json) % {one_in} = 0 then json_structure(json)::varchar end"
    malformed, odd, names, structures = connection.execute(
        f"with shapes as (select json_keys(json) as keys, {bare} as bare, {structure} as structure "
        f"from ({opened.records_sql}) group by all) "
        f"select bool_or(keys is null), bool_or(not bare or {twice.format('keys', 'keys')}), "
        "list_sort(list_distinct(flatten(list(keys)))), "
        "list(distinct structure) filter (structure is not null) from shapes"
    ).fetchone()
    names = names or []
    if len(names) > MOST_COLUMNS:
        raise IngestError(
            f"{source.name} cannot be read: its records have {len(names):,} names between them, more than "
            f"{MOST_COLUMNS:,}. Land records that have the columns as their names."
        )
    variants: dict[str, list[str]] = {name: [] for name in source_tables()[source.table].column_names}
    for name in names:
        variants.setdefault(rows.column_name(name), []).append(name)
    readable = "json is not null"
    if odd:
        keys = "json_keys(json)"
        readable = f"coalesce({bare.replace('keys', keys)}, not {twice.format(keys, keys)}, false)"
    given = {name: keys for name, keys in variants.items() if keys}
    return Shapes(given, _json_types(structures or ()), bool(malformed or odd), readable)


def _json_types(structures: Iterable[str]) -> dict[str, str]:
    """Column → its types in the records that have these structures; several are joined in the order of the alphabet."""
    found: dict[str, set[str]] = {}
    for structure in structures:
        record = json.loads(structure)
        for name, kind in record.items() if isinstance(record, dict) else ():
            told = "{" if isinstance(kind, dict) else "[" if isinstance(kind, list) else kind
            if word := JSON_TYPES.get(told, "number"):
                found.setdefault(rows.column_name(name), set()).add(word)
    return {name: " or ".join(sorted(words)) for name, words in sorted(found.items())}
