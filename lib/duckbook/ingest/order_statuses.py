"""Order statuses in the words of shops, and words that have no known meaning.

Words of well-known shops are in ``dbt_project.yml`` (`order_statuses`), a user's own in DUCKBOOK_ORDER_STATUSES.
Staging translates them (``as_order_status`` in dbt/macros/casts.sql); an unknown word is kept, and its orders count as
revenue.
"""

from __future__ import annotations

from functools import lru_cache

import duckdb
import yaml

from duckbook.settings import ORDER_STATUSES, ROOT, Settings, status_words
from duckbook.source_tables import macro
from duckbook.sql import literal


@lru_cache(maxsize=1)
def known_words() -> dict[str, str]:
    """Return word → status, for our own statuses and the words of well-known shops."""
    variables = yaml.safe_load((ROOT / "dbt" / "dbt_project.yml").read_text("utf-8"))["vars"]
    return {word: status for status, words in variables["order_statuses"].items() for word in (status, *words)}


def unknown_words(connection: duckdb.DuckDBPyConnection, relation: str, settings: Settings) -> list[tuple[str, int]]:
    """Return the unknown words of the column `status` with their number of rows, most frequent first.

    Parameters
    ----------
    relation
        SQL of a relation with the raw texts.
    """
    words = known_words() | dict(pair.split("=") for pair in settings.order_statuses.split(",") if pair)
    known = ", ".join(literal(word) for word in words)
    word = macro("casts.sql", "as_status_word", "status")
    return connection.execute(
        f"select min(lower(trim(status))), count(*) from {relation} where {word} not in ({known}) "
        f"group by {word} order by 2 desc, 1"
    ).fetchall()


def describe(word: str) -> str:
    """Return a sentence about an unknown word, with the setting that defines it if the setting allows the word."""
    problem = f"status {word!r} is unknown, so its orders count as revenue: "
    if not _is_allowed_in_setting(word):
        return f"{problem}land them with another word, since DUCKBOOK_ORDER_STATUSES cannot contain such characters"
    quote = '"' if "'" in word else "'"
    return f"{problem}define it with DUCKBOOK_ORDER_STATUSES={quote}{word}=…{quote}"


def _is_allowed_in_setting(word: str) -> bool:
    try:
        return "," not in status_words(f"{word}={ORDER_STATUSES[0]}")
    except ValueError:
        return False
