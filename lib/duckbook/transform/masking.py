"""Mask personal data, as declared in the models' YAML and in ``_sources.yml``, in all that leaves the warehouse.

A masked text is ``***``, a masked number or date is null. Nulls stay null, and types do not change. The
warehouse itself keeps the values, because models are built from them.
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
    """The select list of a table with its personal columns masked.

    Parameters
    ----------
    columns
        Name and DuckDB type of each column, in table order.
    personal
        The names of the columns to mask.
    """
    hidden = set(personal)
    return ", ".join(_masked(name, kind) if name in hidden else quoted(name) for name, kind in columns)


def mart_queries(
    connection: duckdb.DuckDBPyConnection,
    schema: str,
    marts: Iterable[str],
    declared: dict[str, Contract],
    masked: bool,
) -> dict[str, str]:
    """Mart → the query of its published columns: all of them, the personal ones masked if `masked` is set.

    Raises
    ------
    PublishError
        No model declares a mart, so its personal columns are unknown.
    """
    queries = {}
    for mart in marts:
        if mart not in declared:
            raise PublishError(f"No model declares the mart {mart}, so its personal columns are unknown: drop it.")
        described = connection.execute(f"describe {schema}.{mart}").fetchall()
        columns = [(name, kind) for name, kind, *_ in described]
        shown = masked_select(columns, declared[mart].personal if masked else ())
        queries[mart] = f"select {shown} from {schema}.{mart}"
    return queries


def _masked(name: str, kind: str) -> str:
    if kind.upper() == "VARCHAR":
        return f"case when {quoted(name)} is not null then {literal(MASK)} end as {quoted(name)}"
    return f"cast(null as {kind}) as {quoted(name)}"


def mask_sql(settings: Settings, expression: str) -> str:
    """An SQL expression that masks personal values in a text that quotes records, such as an unreadable line.

    Values are found by the name of their column: ``"email": "…"`` in JSON, even if truncated, ``email: '…'`` in a
    reason.
    """
    for pattern, replacement in _patterns() if settings.mask_personal else ():
        expression = f"regexp_replace({expression}, {literal(pattern)}, {literal(replacement)}, 'g')"
    return expression


def mask_text(text: str) -> str:
    """Mask personal values in a text that quotes records, as `mask_sql` does."""
    for pattern, replacement in _patterns():
        text = re.sub(pattern, replacement, text)
    return text


def _patterns() -> tuple[tuple[str, str], ...]:
    """Patterns of a quoted personal value and their replacements, valid in both DuckDB and Python."""
    names = "|".join(sorted({c.name for table in source_tables().values() for c in table.columns if c.personal}))
    return (
        (rf'("({names})"\s*:\s*)("([^"\\]|\\.)*("|$)|[^,}}\s]+)', rf'\1"{MASK}"'),
        (rf"\b({names}): '.*?' is not ", rf"\1: '{MASK}' is not "),
    )
