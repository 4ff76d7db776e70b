"""Personal data: declared in the models' YAML and in ``_sources.yml``, and masked in whatever leaves the warehouse.

A masked text is ``***``, a masked number or date is null; what is null stays null, and types stay what they are. The
warehouse itself holds the values, or nothing could be built of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from duckbook.rows import literal, quoted
from duckbook.settings import Settings
from duckbook.tables import source_tables

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


def _masked(name: str, kind: str) -> str:
    if kind.upper() == "VARCHAR":
        return f"case when {quoted(name)} is not null then {literal(MASK)} end as {quoted(name)}"
    return f"cast(null as {kind}) as {quoted(name)}"


def masked_text(settings: Settings, expression: str) -> str:
    """An SQL expression for a text that quotes records, such as an unreadable line, without personal values.

    Values are told by the name of their column: ``"email": "…"`` in JSON, whole or cut off, ``email: '…'`` in a reason.
    """
    if not settings.mask_personal:
        return expression
    names = "|".join(sorted({c.name for table in source_tables().values() for c in table.columns if c.personal}))
    in_json = literal(rf'("({names})"\s*:\s*)("([^"\\]|\\.)*("|$)|[^,}}\s]+)')
    in_reason = literal(rf"\b({names}): '.*?' is not ")
    as_json, as_reason = literal(rf'\1"{MASK}"'), literal(rf"\1: '{MASK}' is not ")
    return f"regexp_replace(regexp_replace({expression}, {in_json}, {as_json}, 'g'), {in_reason}, {as_reason}, 'g')"
