"""What the values of settings must look like: each function gives the value, or says in a `ValueError` what it must be.

The words are the second half of a sentence whose first half names the setting. No message holds the value.
"""

from __future__ import annotations

import re
import shlex
from datetime import date
from urllib.parse import urlsplit

from pydantic import SecretStr


def calendar_date(value: object) -> object:
    """A date as text; a bare number would be taken for seconds since 1970."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("must be a date such as 2026-06-30")
    return value


EARLIEST, LATEST = date(1980, 1, 1), date(2150, 12, 31)
"""A shop can be as of a day between these: three years before it and months after it are days that staging reads."""


def as_of_date(value: date) -> date:
    """A date that a shop can be as of."""
    if not EARLIEST <= value <= LATEST:
        raise ValueError(f"must be a date from {EARLIEST} to {LATEST}")
    return value


def number_pairs(value: str) -> str:
    """``NAME=NUMBER`` pairs, in one spelling and order."""
    words = value.replace(",", " ").split()
    if not all(re.fullmatch(r"[a-z_]+=-?[0-9]+(\.[0-9]*)?", word) for word in words):
        raise ValueError("must be NAME=NUMBER pairs such as 'bgnbd_r=0.3 spend_mean=60'")
    return " ".join(sorted(words))


ORDER_STATUSES = ("pending", "processing", "shipped", "delivered", "cancelled", "returned", "refunded")
"""What an order can stand at; dbt_project.yml has the words that shops write for each."""


def order_statuses(value: str) -> str:
    """``WORD=STATUS`` pairs, each word in the one spelling in which staging looks it up."""
    said = {}
    for pair in filter(None, (text.strip() for text in value.split(","))):
        word, _, status = (part.strip().lower() for part in pair.partition("="))
        word = re.sub(r"[\s_-]+", "_", word).removeprefix("wc_")
        if (
            not re.fullmatch(r"[^\"\\{}=,\x00-\x1f]+", word)
            or status not in ORDER_STATUSES
            or said.setdefault(word, status) != status
        ):
            raise ValueError(
                "must be WORD=STATUS pairs such as 'lost in post=cancelled, bezahlt=processing', each word once, "
                f"where a status is one of {', '.join(ORDER_STATUSES)}"
            )
    return ",".join(f"{word}={status}" for word, status in sorted(said.items()))


def plain_name(value: str) -> str:
    """A name of a schema or a database that needs no quotes."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", value) or value.startswith("pg_"):
        raise ValueError("must be a plain lower-case name such as 'ecom'")
    return value


def bucket_name(value: str) -> str:
    """A name of a bucket, by the rules of S3."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value) or ".." in value:
        raise ValueError("must be a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens")
    return value


def connection_string(value: SecretStr | None) -> SecretStr | None:
    """A connection string that libpq reads as its writer meant it."""
    if value and not _is_dsn(value.get_secret_value()):
        raise ValueError(
            "it is no Postgres connection string such as postgresql://USER:PASSWORD@HOST:5432/DATABASE "
            "(in it, a password's own @ / : % are written %40 %2F %3A %25)"
        )
    return value


def bare_url(value: str | None) -> str | None:
    """A URL of a server, and no more than that."""
    if value is None:
        return None
    try:
        url = urlsplit(value)
        bare = bool(url.hostname) and url.port != 0 and not (url.path.strip("/") or url.query or url.username)
    except ValueError:
        bare = False
    if not bare or url.scheme not in {"http", "https"}:
        raise ValueError("must be a URL such as http://127.0.0.1:9000, with no path and no credentials in it")
    return value.rstrip("/")


def region(value: str | None) -> str | None:
    """A region's name."""
    if value and not re.fullmatch(r"[a-z0-9-]+", value):
        raise ValueError("must be a region such as us-east-1")
    return value


def size(value: str) -> str:
    """A size of memory, as DuckDB reads it, with which something can be done and which a machine may have."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B", value, flags=re.IGNORECASE)
    scale = {"K": 10, "M": 20, "G": 30, "T": 40}
    size = float(found[1]) * 2.0 ** scale[found[2].upper()] if found else 0.0
    if not 256 * 2**20 <= size <= 2**44:
        raise ValueError("must be a size such as 4GB, from 256MB to 16TB")
    return value


def command(value: str) -> str:
    """A command line that splits into words; no shell reads it."""
    try:
        shlex.split(value)
    except ValueError:
        raise ValueError("must be a command whose quotes are closed, such as notify-send duckbook {sentence}") from None
    return value


def webhook(value: SecretStr | None) -> SecretStr | None:
    """A URL that takes a message."""
    if value is None:
        return None
    try:
        url = urlsplit(value.get_secret_value())
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a URL such as https://hooks.example.com/services/…")
    return value


def model(value: str) -> str:
    """What rates texts: ours, or a function of a person's own."""
    module, colon, function = value.partition(":")
    named = all(part.isidentifier() for part in (*module.split("."), function))
    if value != "local" and not (colon and named):
        raise ValueError("must be local, or MODULE:FUNCTION such as my_models.sentiment:rate")
    return value


def _is_dsn(text: str) -> bool:
    """Whether libpq can read a connection string, and reads in it what its writer meant.

    An @ or / in a password that is not written %40 or %2F moves parts of it into the host, the port or the database.
    """
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn

    try:
        parts = {name: str(value) for name, value in parse_dsn(text).items()}
    except ProgrammingError:
        return False
    ports = parts.get("port", "5432").split(",")
    named = parts.get("host", "") + parts.get("dbname", "")
    return bool(parts) and "@" not in named and all(port.isdecimal() and 0 < int(port) < 65536 for port in ports)
