"""Keeping secrets out of what is written: values of secret settings, and texts in the shape of a well-known token.

The archive passes everything through a `Redactor` before it reaches a file. A hit is replaced and counted, and the run
that had one fails, because a secret on its way into a file is a fault even when it was stopped.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from duckbook import bi_reader
from duckbook.endpoints import Endpoints
from duckbook.settings import Settings

MASK = "***"

# Shorter values, and single words such as "postgres", occur in any text and open nothing that is worth hiding.
SHORTEST = 6

# Tables are cut at 50 characters and more: the beginning of a long token is told from all other text.
CUT = 24

# How each begins, and the whole: AWS access keys, GitHub, GitLab and Slack tokens, JSON web tokens (MotherDuck's are
# such), private keys. That nothing stands before it is looked at after its beginning, so that texts of megabytes, such
# as dbt's, are searched at the speed of memory.
TOKEN_SHAPES = {
    begin: re.compile(rf"{begin}(?<!\w{begin}){rest}")
    for begin, rest in {
        **dict.fromkeys(("AKIA", "ASIA"), r"[0-9A-Z]{16}\b"),
        **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9]{36,}\b"),
        "github_pat_": r"\w{60,}\b",
        "glpat-": r"[\w-]{20,}\b",
        **dict.fromkeys(("xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-"), r"[\w-]{20,}\b"),
        "eyJ": r"[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}\b",
        "-----BEGIN ": r"[A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----",
    }.items()
}


class Redactor:
    """Replaces secrets in texts and in structures of texts; `hits` counts what was replaced."""

    def __init__(self, values: Iterable[str] = ()):
        forms = {form for value in values if _is_telling(value) for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)
        # A notebook is scrubbed again with every cell, and most of its texts are those of the time before.
        self._clean: set[str] = set()
        self.hits = 0

    def text(self, text: str) -> str:
        """The text without secrets."""
        for form in self._forms:
            if form in text:
                self.hits += text.count(form)
                text = text.replace(form, MASK)
        for begin, pattern in TOKEN_SHAPES.items():
            if begin in text:
                text, count = pattern.subn(MASK, text)
                self.hits += count
        return text

    def scrub(self, node: Any) -> Any:
        """The structure of dicts, lists and texts without secrets, changed in place where that is possible."""
        if isinstance(node, str):
            if node not in self._clean:
                node = self.text(node)
                self._clean.add(node)
            return node
        if isinstance(node, dict):
            for key, value in node.items():
                node[key] = self.scrub(value)
        elif isinstance(node, list):
            node[:] = [self.scrub(value) for value in node]
        return node


def secrets_of(settings: Settings, endpoints: Endpoints | None = None) -> list[str]:
    """Every value that must not be written: of the settings, and of the servers' generated passwords.

    A Postgres DSN is a secret as a whole, and so is the password within it.
    """
    import psycopg.conninfo

    found = settings.secrets() + bi_reader.passwords(settings.data)
    dsns = [
        dsn.get_secret_value() for dsn in (settings.postgres_dsn, settings.bi_postgres_dsn, settings.lake_dsn) if dsn
    ]
    if endpoints is not None:
        found += [endpoints.s3.secret_access_key, endpoints.s3.session_token or "", endpoints.postgres_dsn]
        dsns.append(endpoints.postgres_dsn)
    found += [psycopg.conninfo.conninfo_to_dict(dsn).get("password") or "" for dsn in dict.fromkeys(dsns)]
    return [value for value in found if value]


def _forms(value: str) -> list[str]:
    """A value as it is, as URLs, HTML, JSON and Python write it, and, of a long one, what a table that is cut shows."""
    once = json.dumps(value)[1:-1]
    forms = [value, quote(value, safe=""), html.escape(value), html.escape(value, quote=False), repr(value)[1:-1]]
    forms += [once, json.dumps(once)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    return forms + ([value[:CUT]] if len(value) >= 2 * CUT and "://" not in value else [])


def _is_telling(value: str) -> bool:
    return len(value) >= SHORTEST and not (value.isalpha() and value.islower() and len(value) < 12)
