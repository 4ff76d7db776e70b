"""Find mentions of people to erase in texts: by id, e-mail, name, address or phone, in the spellings of sources.

Comparison ignores case, accents and the characters between words, and decodes escapes of JSON, HTML, URLs and Python.
A mention that can only mean the person is certain. A name, which others may share, is doubtful and left for the user
to decide.
"""

from __future__ import annotations

import contextlib
import html
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from duckbook.ingest import rows
from duckbook.source_tables import SourceTable, source_tables
from duckbook.sql import listed, literal, quoted

if TYPE_CHECKING:
    import duckdb

E_MAIL = re.compile(r"[^\s\"'<>()\[\]{},;:|=\\/]{1,254}@[\w-]+(?:\.[\w-]+)*")

PHONE = re.compile(r"(?<![\w.-])\+?\(?\d[\d ()/.-]{5,}\d(?![\w.-])")
ABROAD = re.compile(r"(?<!\w)\+\d[\d ()/.-]{5,}\d(?![\w.-])")
PHONES = re.compile("phone|mobile|tel|fax", re.IGNORECASE)
"""A phone number, one with a country code, and the columns that hold phones."""

MIN_DIGITS = 8
"""Shorter numbers are not taken for phones."""

MIN_LENGTH = 6
"""Shorter addresses and ids also occur in unrelated texts."""

NAMED_ID = re.compile(
    r"""customer[_\-\s]?id[\\"']*\s*[:=>]\s*(?:\\*"((?:[^"\\]|\\.)*)|'([^']*)|([^"',;}\s<\\]+))""", re.IGNORECASE
)
"""A customer_id with its value in a text of any format."""

FIELD = re.compile(r"""["'][\w \t]+["']\s*:""")
"""A field of a JSON record, whole or truncated, which other formats do not have."""

OWN_VALUE = "the address, phone or customer_id"

BASE_LETTERS = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "ħ": "h", "ı": "i", "æ": "ae"}
    | {"Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "TH"}
)
"""Base letters that Unicode normalisation does not return."""

ESCAPED = re.compile(r"((?:\\x[0-9a-fA-F]{2})+)|((?:\\u[0-9a-fA-F]{4})+)|\\([nrt])|\\(.)", re.DOTALL)

ESCAPES, MISREAD = r"\\|&#?\w{1,8};|%[0-9A-Fa-f]{2}", r"[\x{00C2}\x{00C3}\x{FF00}-\x{FFEF}]"
"""Patterns, in DuckDB's syntax, of escapes and of wrongly decoded characters, which need decoding first."""


class Mention(NamedTuple):
    """A mention of a person in a text, whether it is certain, and why it was recognised."""

    certain: bool
    why: str


@dataclass(frozen=True)
class People:
    """Ids and personal details of people.

    Attributes
    ----------
    ids
        Their ids, in the form of `rows.normalised`.
    texts
        E-mails, addresses and phones that nobody else has.
    shared
        E-mails, addresses and phones that others have too.
    names
        First and last names.
    """

    ids: frozenset[str] = field(repr=False)
    texts: frozenset[str] = field(default=frozenset(), repr=False)
    shared: frozenset[str] = field(default=frozenset(), repr=False)
    names: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)

    def in_line(self, text: str) -> Mention | None:
        """Return how an unreadable line mentions one of them; None if it does not."""
        ids = set(named_ids(text))
        if any(self._is_id(person) for person in ids):
            return Mention(True, "the customer_id")
        mention = self.in_text(text, with_names=not ids)
        if mention:
            return Mention(mention.certain and not ids, mention.why)
        if not ids and not FIELD.search(text):
            cells = (cell.strip(" \"'\\") for cell in re.split(r"[,;|\t]", text))
            if any(self._is_id(cell) for cell in cells):
                return Mention(False, "a value that is the customer_id")
        return None

    def in_text(self, text: str, *, with_names: bool = True) -> Mention | None:
        """Return how a text mentions one of them by their details, preferring certain mentions; None if it does not."""
        mentions: list[Mention] = []
        for form in forms(text) if _NEEDS_DECODING.search(text) else (text,):
            plain = _without_marks(form).lower()
            if any(all(token in plain for token in tokens) for tokens in self._tokens):
                mentions += self._mentions(form, with_names)
        return max(mentions, key=lambda mention: mention.certain, default=None)

    def _mentions(self, text: str, with_names: bool) -> Iterator[Mention]:
        folded, emails = f" {words(text)} ", {normalised_email(each) for each in E_MAIL.findall(text)}
        untagged, emails_as_words = {_untagged(each) for each in emails}, {words(each) for each in emails}
        without_dots = folded.replace(" dot ", " ")
        for value, value_words in self._values:
            own = value not in self._shared
            if "@" not in value:
                if f" {value_words} " in folded:
                    yield Mention(own, OWN_VALUE)
            elif value in emails:
                yield Mention(own, "the e-mail")
            elif (
                value in untagged
                or value_words in emails_as_words
                or f" {words(value.replace('@', ' at '))} " in without_dots
            ):
                yield Mention(False, "a similar e-mail")
            elif _is_truncated(value, text):
                yield Mention(False, "the beginning of the e-mail")
        if with_names and any(all(f" {words(part)} " in folded for part in name) for name in self.names):
            yield Mention(False, "the name")

    def pattern(self) -> re.Pattern[str] | None:
        """Return a pattern for their details and names as pages and notebooks of runs write them."""
        values = [[value] for value in self.texts | self.shared]
        values += [list(order) for first, last in self.names for order in ((first, last), (last, first))]
        alternatives = {_GAP.join(_letters(part) for value in parts for part in _parts(value)) for parts in values}
        patterns = sorted((each for each in alternatives if each), key=len, reverse=True)
        return re.compile(rf"(?<![^\W_])(?:{'|'.join(patterns)})(?![^\W_])", re.IGNORECASE) if patterns else None

    @property
    def have_details(self) -> bool:
        """Whether anything but their ids is known."""
        return bool(self._tokens)

    def _is_id(self, text: str) -> bool:
        return bool({text, plain_id(text)} & self._ids)

    @cached_property
    def _ids(self) -> frozenset[str]:
        return self.ids | {plain_id(person) for person in self.ids}

    @cached_property
    def _values(self) -> list[tuple[str, str]]:
        return [(value, words(value)) for value in sorted(map(normalised_email, self.texts | self.shared))]

    @cached_property
    def _shared(self) -> frozenset[str]:
        return frozenset(map(normalised_email, self.shared))

    @cached_property
    def _tokens(self) -> list[list[str]]:
        """Per value, the tokens that every decoded spelling of it contains."""
        local_parts = [value.split("@")[0] for value in self.texts | self.shared if "@" in value]
        tokens = [_tokens(value) for value in (*self.texts, *self.shared, *local_parts)]
        tokens += [[*_tokens(first), *_tokens(last)] for first, last in self.names]
        return [each for each in tokens if each]

    def may_be_in(self, text: str) -> str:
        """Return SQL for whether a text may mention one of them; false negatives are impossible."""
        # One token per value, since matching one pattern takes a sixth of the time of matching every token.
        pieces = sorted({re.escape(max(tokens, key=len)) for tokens in self._tokens})
        pattern = f"(?i){'|'.join([*pieces, ESCAPES])}"
        return (
            f"(regexp_matches(strip_accents({text}), {literal(pattern)}) or regexp_matches({text}, {literal(MISREAD)}))"
        )


_NEEDS_DECODING = re.compile(ESCAPES + "|" + re.sub(r"\\x\{(\w+)\}", r"\\u\1", MISREAD))

_GAP = r"(?:[\W_]|<[^<>]{0,99}>|&#?\w{2,7};|\\[nrtu]|%[0-9A-F]{2}){1,40}?"


def named_ids(text: str) -> Iterator[str]:
    """Yield the customer_ids in a text, without a trailing ``.0``."""
    for form in forms(text):
        for found in NAMED_ID.finditer(form):
            value = next(group for group in found.groups() if group is not None).strip()
            if value and value.lower() not in {"null", "none"}:
                yield re.sub(r"^(-?[0-9]+)\.0$", r"\1", value)


def forms(text: str) -> list[str]:
    """Return a text and its decoded forms; escapes may be nested."""
    decoded = [text]
    for _ in range(3):
        last = decoded[-1]
        unescaped = html.unescape(unquote(ESCAPED.sub(_unescape, last)))
        if unescaped == last:
            break
        decoded.append(unescaped)
    # UTF-8 that was decoded as Latin-1.
    with contextlib.suppress(UnicodeError):
        decoded.append(decoded[-1].encode("cp1252").decode("utf-8"))
    return list(dict.fromkeys(decoded))


def _unescape(match: re.Match[str]) -> str:
    bytes_, units, space, other = match.groups()
    if bytes_:
        raw = bytes.fromhex(bytes_.replace("\\x", ""))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    if units:
        return bytes.fromhex(units.replace("\\u", "")).decode("utf-16-be", errors="replace")
    return " " if space else other


def words(text: str) -> str:
    """Return the words of a text separated by spaces, without case, accents and punctuation."""
    return " ".join(re.findall(r"[^\W_]+", _without_marks(text).casefold()))


def normalised_email(text: str) -> str:
    """Normalise an e-mail or another value for comparison."""
    return unicodedata.normalize("NFKC", text).strip().rstrip(".").casefold()


def _untagged(address: str) -> str:
    local, _, domain = address.partition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _is_truncated(value: str, text: str) -> bool:
    """Whether a text ends within an e-mail, after its @."""
    tail, start = normalised_email(text[-len(value) - 1 :].rstrip(" \"'")), value[: value.index("@") + 1]
    end = tail[tail.rfind(start) :] if start in tail else ""
    return bool(end) and value.startswith(end) and end != value


def _without_marks(text: str) -> str:
    if text.isascii():
        return text
    unmarked = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return unmarked.translate(BASE_LETTERS)


def _tokens(value: str) -> list[str]:
    """Split a value into the parts that all its spellings share, without letters that can be spelled in two ways."""
    shared = re.sub("[ßŉſ]", " ", value.translate(dict.fromkeys(BASE_LETTERS, " ")))
    return re.findall(r"[^\W_]+", _without_marks(shared).lower())


def plain_id(text: str) -> str:
    """Return an id without leading zeros."""
    return (text.lstrip("0") or "0") if text.isascii() and text.isdigit() else text


def _parts(value: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFC", value))


def _letters(word: str) -> str:
    """Return a pattern for a word as HTML, JSON and Python write it."""
    pattern = []
    for char in word:
        if char.isascii():
            pattern.append(char)
            continue
        code, plain = ord(char), _without_marks(char)
        spellings = [char, unicodedata.normalize("NFD", char), plain, f"\\u{code:04x}", f"\\\\u{code:04x}"]
        spellings += [f"\\x{code:02x}", f"&#{code};", f"&#x{code:x};"]
        if entity := html.entities.codepoint2name.get(code):
            spellings.append(f"&{entity};")
        pattern.append(f"(?:{'|'.join(map(re.escape, spellings))})")
    return "".join(pattern)


class Cell(NamedTuple):
    """A value of a row, or an unreadable line, that mentions a person; `of_them` says whether the row is theirs."""

    file: str
    number: int
    column: str | None
    text: str
    customer: str | None
    mention: Mention
    of_them: bool = False


def find_details(
    engine: duckdb.DuckDBPyConnection, ids: Iterable[str], files: dict[str, list[str]], is_theirs: str
) -> People:
    """Collect the details of people from their rows.

    Parameters
    ----------
    files
        Source table → its files of rows.
    is_theirs
        SQL for whether a row is of one of them.
    """
    columns_of_tables = {table: _personal_columns(engine, table, addresses) for table, addresses in files.items()}
    own: set[str] = set()
    emails: set[str] = set()
    names: set[tuple[str, str]] = set()
    for table, (declared, undeclared) in columns_of_tables.items():
        columns = [*declared, *undeclared]
        if not columns:
            continue
        query = f"select distinct {', '.join(map(quoted, columns))} from {scan(files[table])} where {is_theirs}"
        for row in engine.execute(query).fetchall():
            values = {c: value.strip() for c, value in zip(columns, row, strict=True) if value and value.strip()}
            if "first_name" in values and "last_name" in values:
                names.add((values.pop("first_name"), values.pop("last_name")))
            for column, value in values.items():
                own |= _details(column, value, whole=column in declared and not column.endswith("_name"))
            emails |= {values["email"]} if "email" in values else set()
    others = _of_others(engine, files, columns_of_tables, own, is_theirs)
    texts = {*own, *distinctive_ids(ids)} - others
    shared = {text for text in others if "@" not in text or text in emails}
    return People(frozenset(ids), frozenset(texts), frozenset(shared), frozenset(names))


def _personal_columns(
    engine: duckdb.DuckDBPyConnection, table: str, files: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the columns of a table that are declared as personal, and its undeclared columns."""
    present = columns_of(engine, files) - set(rows.ROW_COLUMNS)
    if "customer_id" not in present:
        return [], []
    declared = {column.name: column for column in source_tables()[table].columns}
    personal = [name for name, column in declared.items() if column.personal and column.data_type == "varchar"]
    return [name for name in personal if name in present], sorted(present - declared.keys())


def distinctive_ids(ids: Iterable[str]) -> set[str]:
    """Return the ids that cannot be confused with other numbers."""
    return {id_ for id_ in ids if len(id_) >= MIN_LENGTH and (not id_.isdigit() or len(id_) >= MIN_DIGITS)}


def _details(column: str, value: str, *, whole: bool) -> set[str]:
    """Return the e-mails and phones in a value and, if `whole`, the value itself."""
    details = set(E_MAIL.findall(value))
    # Without a country code, dates and amounts look like phones.
    pattern = PHONE if PHONES.search(column) else ABROAD
    details |= {phone for phone in pattern.findall(value) if sum(map(str.isdigit, phone)) >= MIN_DIGITS}
    return details | ({value} if whole and len(value) >= MIN_LENGTH else set())


def _of_others(
    engine: duckdb.DuckDBPyConnection,
    files: dict[str, list[str]],
    columns_of_tables: dict[str, tuple[list[str], list[str]]],
    own: Collection[str],
    is_theirs: str,
) -> set[str]:
    """Return the texts that also occur in rows of other people."""
    folded_texts = {text: f" {words(text)} " for text in own if words(text)}
    pieces = sorted({re.escape(max(tokens, key=len)) for text in own if (tokens := _tokens(text))})
    shared: set[str] = set()
    for table, (declared, undeclared) in columns_of_tables.items():
        if not pieces or not (declared or undeclared):
            continue
        query = (
            f"select distinct value from (select unnest([{', '.join(map(quoted, [*declared, *undeclared]))}]) as value "
            f"from {scan(files[table])} where not {is_theirs} and coalesce(trim(customer_id), '') != '') "
            "where regexp_matches(strip_accents(value), ?)"
        )
        for (value,) in engine.execute(query, [f"(?i){'|'.join(pieces)}"]).fetchall():
            folded = f" {words(value)} "
            shared |= {text for text, folded_text in folded_texts.items() if folded_text in folded}
    return shared


def in_table(
    engine: duckdb.DuckDBPyConnection,
    people: People,
    table: SourceTable,
    files: Sequence[str],
    unreadable: Sequence[str],
    is_theirs: str,
) -> Iterator[Cell]:
    """Yield the values of a table that mention people other than by the customer_id of the row.

    Parameters
    ----------
    files, unreadable
        Files of rows, and of unreadable lines.
    is_theirs
        SQL for whether a row is of one of them.
    """
    if unreadable:
        query = f"select filename, row_number, original from {scan(unreadable)} order by 1, 2"
        for file, number, text in engine.execute(query).fetchall():
            if mention := people.in_line(text):
                yield Cell(file, number, None, text, next(named_ids(text), None), mention)
    for cell in _in_rows(engine, people, files, is_theirs):
        if cell.of_them:
            yield cell._replace(mention=cell.mention._replace(certain=True))
        elif cell.customer is None and "customer_id" in table.column_names:
            yield cell._replace(of_them=cell.mention.certain)
        elif cell.customer is None or not _may_be_shared(table, cell):
            yield cell._replace(mention=cell.mention._replace(certain=False))


def _in_rows(engine: duckdb.DuckDBPyConnection, people: People, files: Sequence[str], is_theirs: str) -> Iterator[Cell]:
    present = columns_of(engine, files)
    columns = sorted(present - set(rows.ROW_COLUMNS))
    if not columns or not people.have_details:
        return
    has_customer = "customer_id" in columns
    customer = rows.normalised("customer_id") if has_customer else "cast(null as varchar)"
    joined = f"concat_ws(chr(10), {', '.join(map(quoted, columns))})"
    query = (
        f"select filename, {number_of(present)}, {customer}, {is_theirs if has_customer else 'false'}, "
        f"{', '.join(map(quoted, columns))} from {scan(files)} where {people.may_be_in(joined)} order by 1, 2"
    )
    result = engine.execute(query)
    while fetched := result.fetchmany(10_000):
        for file, number, customer_id, theirs, *values in fetched:
            row = {column: str(value) for column, value in zip(columns, values, strict=True) if value is not None}
            row.pop("customer_id", None)
            if customer_id is None and "first_name" in row and "last_name" in row:
                row["first and last name"] = f"{row['first_name']} {row['last_name']}"
            for column, text in row.items():
                if mention := people.in_text(text):
                    yield Cell(file, number, column, text, customer_id, mention, theirs)


def _may_be_shared(table: SourceTable, cell: Cell) -> bool:
    """Whether another customer may well have the same value, such as the address of a household."""
    personal = {column.name for column in table.columns if column.personal}
    return cell.column in personal and cell.mention.why == OWN_VALUE


def columns_of(engine: duckdb.DuckDBPyConnection, files: Sequence[str]) -> set[str]:
    """Return the union of the columns of files."""
    if not files:
        return set()
    described = engine.execute(f"describe select * from {scan(files)}").fetchall()
    return {name for name, *_ in described} - {"filename", "file_row_number"}


def number_of(columns: Collection[str]) -> str:
    """Return `rows.row_number` for files of which some may lack the column."""
    return "coalesce(_row_number, file_row_number + 1)" if "_row_number" in columns else "file_row_number + 1"


def scan(files: Sequence[str]) -> str:
    """Return SQL for a relation of the rows of files."""
    return (
        f"read_parquet({listed(files)}, filename = true, file_row_number = true, union_by_name = true, "
        "hive_partitioning = false)"
    )
