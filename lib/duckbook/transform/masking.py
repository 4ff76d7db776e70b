"""Personal data: declared in the models' YAML and in ``_sources.yml``, and masked in whatever leaves the warehouse.

A masked text is ``***``, a masked number or date is null; what is null stays null, and types stay what they are. The
warehouse itself holds the values, or nothing could be built of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from duckbook.errors import PublishError
from duckbook.settings import Settings
from duckbook.source_tables import source_tables
from duckbook.sql import literal, quoted
from duckbook.transform.contracts import Contract

if TYPE_CHECKING:
    import duckdb

MASK = "***"


def masked_select(columns: Sequence[tuple[str, str]], personal: Iterable[str]) -> str:
    """What a select lists so that personal columns come masked.

    Parameters
    ----------
    columns
        Name and DuckDB type of each column of the table, in its order.
    personal
        The names of those that tell who a person is.
    """
    hidden = set(personal)
    return ", ".join(_masked(name, kind) if name in hidden else quoted(name) for name, kind in columns)


def queries(
    connection: duckdb.DuckDBPyConnection,
    schema: str,
    marts: Iterable[str],
    declared: dict[str, Contract],
    masked: bool,
) -> dict[str, str]:
    """Mart → a query for what is published of it: all of its columns, the personal ones masked where that is asked.

    Raises
    ------
    PublishError
        No model declares a mart, so that nobody knows what is personal in it.
    """
    found = {}
    for mart in marts:
        if mart not in declared:
            raise PublishError(f"No model declares the mart {mart}, so what is personal in it is not known: drop it.")
        described = connection.execute(f"describe {schema}.{mart}").fetchall()
        columns = [(name, kind) for name, kind, *_ in described]
        found[mart] = f"select {masked_select(columns, declared[mart].personal if masked else ())} from {schema}.{mart}"
    return found


def _masked(name: str, kind: str) -> str:
    if kind.upper() == "VARCHAR":
        return f"case when {quoted(name)} is not null then {literal(MASK)} end as {quoted(name)}"
    return f"cast(null as {kind}) as {quoted(name)}"


def masked_text(settings: Settings, expression: str) -> str:
    """An SQL expression for a text that quotes records, such as an unreadable line, without personal values.

    Values are told by the name of their column: ``"email": "…"`` in JSON, whole or cut off, ``email: '…'`` in a reason.
    """
    for pattern, replacement in _quotes() if settings.mask_personal else ():
        expression = f"regexp_replace({expression}, {literal(pattern)}, {literal(replacement)}, 'g')"
    return expression


def masked(text: str) -> str:
    """A text that quotes records without personal values; told as in `masked_text`."""
    for pattern, replacement in _quotes():
        text = re.sub(pattern, replacement, text)
    return text


def _quotes() -> tuple[tuple[str, str], ...]:
    """How a text quotes a personal value, and what takes its place; patterns that DuckDB and Python both know."""
    names = "|".join(sorted({c.name for table in source_tables().values() for c in table.columns if c.personal}))
    return (
        (rf'("({names})"\s*:\s*)("([^"\\]|\\.)*("|$)|[^,}}\s]+)', rf'\1"{MASK}"'),
        (rf"\b({names}): '.*?' is not ", rf"\1: '{MASK}' is not "),
    )
