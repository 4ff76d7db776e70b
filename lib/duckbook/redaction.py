"""Redaction of secrets: the values of secret settings, and texts in the form of a well-known token.

The archive passes everything through a `Redactor` before it writes a file. Each match is replaced and counted, and a
match fails the run: a secret on its way into a file is a bug even if it was caught.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from duckbook.settings import Endpoints, Settings

MASK = "***"

# Shorter values, and single words such as "postgres", occur in any text.
MIN_LENGTH = 6

PASSWORD_FILES = ("servers/secrets.json", "bi/reader.json")
"""Files of a data folder that hold passwords."""

FRAGMENT = 8
"""Shortest part of a secret that is redacted: tables and errors are truncated, and lines wrap."""

LONG = 12
"""Only parts of secrets of at least this length are redacted."""

GRAM, STRIDE = 5, 4
"""Length of the n-grams that texts are searched for, and their distance in a secret: every fragment contains one."""

BIG = 2**16
"""Texts above this length, such as dbt's artifacts, are searched for all n-grams at once."""

# Prefix → rest of the token: AWS access keys, GitHub, GitLab and Slack tokens, JSON web tokens (such as MotherDuck's),
# private keys. The word boundary is a lookbehind after the prefix: a literal prefix is the fastest to search for.
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
    """Replaces secrets in texts and nested structures of texts; `hits` counts the replacements."""

    def __init__(self, values: Iterable[str] = ()):
        forms = {form for value in values if _is_secret(value) for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._grams: dict[str, list[tuple[str, int]]] = {}
        for part in sorted({part for form in forms for part in _random_parts(form)}):
            for at in range(0, len(part) - GRAM + 1, STRIDE):
                self._grams.setdefault(part[at : at + GRAM], []).append((part, at))
        # A notebook is scrubbed after every cell, and most of its texts have not changed.
        self._clean: set[str] = set()
        self.hits = 0

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for form in self._forms:
            if form in text:
                self.hits += text.count(form)
                text = text.replace(form, MASK)
        text = self._without_fragments(text)
        for begin, pattern in TOKEN_SHAPES.items():
            if begin in text:
                text, count = pattern.subn(MASK, text)
                self.hits += count
        return text

    def _without_fragments(self, text: str) -> str:
        spans = sorted(span for gram in self._grams_in(text) for span in self._fragments(text, gram))
        cut, last = [], 0
        for begin, end in spans:
            if begin >= last:
                cut += [text[last:begin], MASK]
                self.hits += 1
            last = max(last, end)
        return "".join([*cut, text[last:]]) if spans else text

    def _grams_in(self, text: str) -> Iterable[str]:
        if len(text) < BIG:
            return (gram for gram in self._grams if gram in text)
        import numpy as np

        def hashes(text: str) -> np.ndarray:
            codes = np.frombuffer(text.encode("latin-1", errors="replace"), dtype=np.uint8).astype(np.uint16)
            rolling = codes[: len(codes) - GRAM + 1].copy()
            for at in range(1, GRAM):
                rolling = rolling * np.uint16(31) + codes[at : len(codes) - GRAM + 1 + at]
            return rolling

        wanted = np.zeros(2**16, dtype=bool)
        for gram in self._grams:
            wanted[hashes(gram)] = True
        candidates = np.flatnonzero(wanted[hashes(text)]).tolist()
        return {text[at : at + GRAM] for at in candidates} & self._grams.keys()

    def _fragments(self, text: str, gram: str) -> Iterator[tuple[int, int]]:
        """Yield the start and end of each fragment of a secret around the occurrences of an n-gram."""
        position = text.find(gram)
        while position >= 0:
            for part, at in self._grams[gram]:
                before = _common_prefix(text[max(position - at, 0) : position][::-1], part[:at][::-1])
                after = _common_prefix(text[position : position + len(part) - at], part[at:])
                begin, end = position - before, position + after
                if _is_random(text[begin:end]):
                    yield begin, end
            position = text.find(gram, position + 1)

    def scrub(self, node: Any) -> Any:
        """Remove secrets from nested dicts, lists and texts, in place where possible."""
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
    """Return every secret: of the settings, the environment and the servers' generated passwords.

    A Postgres DSN is a secret as a whole, and so is the password in it.
    """
    from psycopg2.extensions import parse_dsn

    values = settings.secrets()
    for file in PASSWORD_FILES:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            values += json.loads((settings.data / file).read_text("utf-8")).values()
    values += [os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
    dsns = [
        dsn.get_secret_value() for dsn in (settings.postgres_dsn, settings.bi_postgres_dsn, settings.lake_dsn) if dsn
    ]
    if endpoints is not None:
        values += [endpoints.s3.secret_access_key, endpoints.s3.session_token or "", endpoints.postgres_dsn]
        dsns.append(endpoints.postgres_dsn)
    values += [parse_dsn(dsn).get("password") or "" for dsn in dict.fromkeys(dsns)]
    return [value for value in values if value]


def _forms(value: str) -> list[str]:
    """Return a value as it is and as URLs, HTML, JSON and Python escape it."""
    once = json.dumps(value)[1:-1]
    forms = [value, quote(value, safe=""), html.escape(value), html.escape(value, quote=False), repr(value)[1:-1]]
    return [*forms, once, json.dumps(once)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]


def _random_parts(form: str) -> list[str]:
    """Return the secret parts of a value: not a URL's host, nor the names of its parameters."""
    # The password of a DSN in another form is a value of its own.
    if "%3A%2F%2F" in form or re.match(r"\w+\s*=.*\s\w+\s*=", form):
        return []
    parts = [form]
    if "://" in form:
        user, at, rest = form.split("://", 1)[1].rpartition("@")
        parts = re.split(r"[:/]+", user) if at else re.split(r"[/?&=]+", rest)[1:]
    return [part for part in parts if len(part) >= LONG]


def _common_prefix(left: str, right: str) -> int:
    """Return the length of the common prefix of two texts."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _is_random(fragment: str) -> bool:
    """Whether a fragment is unlikely to be an ordinary word."""
    if len(fragment) < FRAGMENT:
        return False
    mixed = any(char.isdigit() for char in fragment) and any(char.isalpha() for char in fragment)
    return mixed or len(fragment) >= 2 * FRAGMENT or (len(fragment) >= LONG and not fragment.islower())


def _is_secret(value: str) -> bool:
    return len(value) >= MIN_LENGTH and not (value.isalpha() and value.islower() and len(value) < 12)
