"""What shops call the statuses of an order, and the words that no list has an explanation of.

The lists stand in ``dbt_project.yml`` (`order_statuses`), the words of a person's own shop in DUCKBOOK_ORDER_STATUSES.
Staging translates by them (``as_order_status`` in dbt/macros/casts.sql); a word that is in none stays as it is, and its
orders count as revenue.
"""

from __future__ import annotations

from functools import lru_cache

import duckdb
import yaml

from duckbook.settings import ORDER_STATUSES, ROOT, Settings, status_words
from duckbook.sql import literal

WORD = (
    "regexp_replace(regexp_replace(lower(nullif(trim(regexp_replace(status, '[\\s\\p{Z}]+', ' ', 'g')), '')), "
    "'[ _-]+', '_', 'g'), '^wc_', '')"
)
"""A raw status in the one spelling in which it is looked up."""


@lru_cache(maxsize=1)
def of_shops() -> dict[str, str]:
    """Word → status, for our own statuses and the words of well-known shops."""
    variables = yaml.safe_load((ROOT / "dbt" / "dbt_project.yml").read_text("utf-8"))["vars"]
    return {word: status for status, words in variables["order_statuses"].items() for word in (status, *words)}


def unexplained(connection: duckdb.DuckDBPyConnection, relation: str, settings: Settings) -> list[tuple[str, int]]:
    """Words of the column `status` that mean no status, with how many rows have each, the most frequent first.

    Parameters
    ----------
    relation
        SQL of a relation with the raw texts.
    """
    said = of_shops() | dict(pair.split("=") for pair in settings.order_statuses.split(",") if pair)
    known = ", ".join(literal(word) for word in said)
    return connection.execute(
        f"select min(lower(trim(status))), count(*) from {relation} where {WORD} not in ({known}) "
        f"group by {WORD} order by 2 desc, 1"
    ).fetchall()


def sentence(word: str) -> str:
    """What a person should know of a word that means no status, with a setting that says what it means.

    Where the setting can name no such word, for it holds one of the characters that part its words, the word stays.
    """
    told = f"status {word!r} means nothing that is known, so its orders count as revenue: "
    if not _can_be_named(word):
        return f"{told}land them with another word, for DUCKBOOK_ORDER_STATUSES can name none with such characters"
    quote = '"' if "'" in word else "'"
    return f"{told}say what it means, DUCKBOOK_ORDER_STATUSES={quote}{word}=…{quote}"


def _can_be_named(word: str) -> bool:
    try:
        return "," not in status_words(f"{word}={ORDER_STATUSES[0]}")
    except ValueError:
        return False
