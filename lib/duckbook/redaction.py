"""Keeping secrets out of what is written: values of secret settings, and texts in the shape of a well-known token.

The archive passes everything through a `Redactor` before it reaches a file. A hit is replaced and counted, and the run
that had one fails, because a secret on its way into a file is a fault even when it was stopped.
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

# Shorter values, and single words such as "postgres", occur in any text and open nothing that is worth hiding.
SHORTEST = 6

KEPT = ("servers/secrets.json", "bi/reader.json")
"""The files of a data folder that keep passwords."""

FRAGMENT = 8
"""So many characters of a long secret are told from all other text: tables and errors are cut, and lines wrapped."""

LONG = 12
"""Of a secret that is shorter, a part tells little."""

GRAM, STRIDE = 5, 4
"""Texts are searched for pieces of `GRAM` characters: where they begin at every `STRIDE` characters of a secret, each
fragment holds a whole one."""

BIG = 2**16
"""Texts above this, such as dbt's, are searched for all pieces at once."""

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
        self._grams: dict[str, list[tuple[str, int]]] = {}
        for part in sorted({part for form in forms for part in _random_parts(form)}):
            for at in range(0, len(part) - GRAM + 1, STRIDE):
                self._grams.setdefault(part[at : at + GRAM], []).append((part, at))
        # A notebook is scrubbed again with every cell, and most of its texts are those of the time before.
        self._clean: set[str] = set()
        self.hits = 0

    def text(self, text: str) -> str:
        """The text without secrets."""
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

        def hashes(of: str) -> np.ndarray:
            codes = np.frombuffer(of.encode("latin-1", errors="replace"), dtype=np.uint8).astype(np.uint16)
            found = codes[: len(codes) - GRAM + 1].copy()
            for at in range(1, GRAM):
                found = found * np.uint16(31) + codes[at : len(codes) - GRAM + 1 + at]
            return found

        sought = np.zeros(2**16, dtype=bool)
        for gram in self._grams:
            sought[hashes(gram)] = True
        found = np.flatnonzero(sought[hashes(text)]).tolist()
        return {text[at : at + GRAM] for at in found} & self._grams.keys()

    def _fragments(self, text: str, gram: str) -> Iterator[tuple[int, int]]:
        """Begin and end of what is part of a secret around the places of a gram."""
        found = text.find(gram)
        while found >= 0:
            for part, at in self._grams[gram]:
                before = _alike(text[max(found - at, 0) : found][::-1], part[:at][::-1])
                after = _alike(text[found : found + len(part) - at], part[at:])
                begin, end = found - before, found + after
                if _is_random(text[begin:end]):
                    yield begin, end
            found = text.find(gram, found + 1)

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
    from psycopg2.extensions import parse_dsn

    found = settings.secrets()
    for file in KEPT:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found += json.loads((settings.data / file).read_text("utf-8")).values()
    found += [os.environ.get(name, "") for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
    dsns = [
        dsn.get_secret_value() for dsn in (settings.postgres_dsn, settings.bi_postgres_dsn, settings.lake_dsn) if dsn
    ]
    if endpoints is not None:
        found += [endpoints.s3.secret_access_key, endpoints.s3.session_token or "", endpoints.postgres_dsn]
        dsns.append(endpoints.postgres_dsn)
    found += [parse_dsn(dsn).get("password") or "" for dsn in dict.fromkeys(dsns)]
    return [value for value in found if value]


def _forms(value: str) -> list[str]:
    """A value as it is, and as URLs, HTML, JSON and Python write it."""
    once = json.dumps(value)[1:-1]
    forms = [value, quote(value, safe=""), html.escape(value), html.escape(value, quote=False), repr(value)[1:-1]]
    return [*forms, once, json.dumps(once)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]


def _random_parts(form: str) -> list[str]:
    """What of a value opens something: of a URL not its host, nor the names of what it holds."""
    # Of a DSN in another spelling the password is a value of its own.
    if "%3A%2F%2F" in form or re.match(r"\w+\s*=.*\s\w+\s*=", form):
        return []
    parts = [form]
    if "://" in form:
        user, at, rest = form.split("://", 1)[1].rpartition("@")
        parts = re.split(r"[:/]+", user) if at else re.split(r"[/?&=]+", rest)[1:]
    return [part for part in parts if len(part) >= LONG]


def _alike(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _is_random(fragment: str) -> bool:
    """Whether a fragment is no word that other texts hold too."""
    if len(fragment) < FRAGMENT:
        return False
    mixed = any(char.isdigit() for char in fragment) and any(char.isalpha() for char in fragment)
    return mixed or len(fragment) >= 2 * FRAGMENT or (len(fragment) >= LONG and not fragment.islower())


def _is_telling(value: str) -> bool:
    return len(value) >= SHORTEST and not (value.isalpha() and value.islower() and len(value) < 12)
