"""How texts mention people who are to be forgotten: by id, e-mail, name, address or phone, in the spellings of sources.

Letters are compared without case and accents, words without what stands between them, and escapes of JSON, HTML, URLs
and Python are read. What only one person can mean is certain; a name, which others may have too, is doubtful, and for
whoever erases the person to decide.
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
"""How a phone is written, with the code of its country too, and which columns hold phones."""

DIGITS = 8
"""A number of fewer is not taken for somebody's phone."""

SHORTEST = 6
"""A shorter address or number occurs in other texts too."""

NAMED_ID = re.compile(
    r"""customer[_\-\s]?id[\\"']*\s*[:=>]\s*(?:\\*"((?:[^"\\]|\\.)*)|'([^']*)|([^"',;}\s<\\]+))""", re.IGNORECASE
)
"""How a text names a person, as far as it can be told."""

FIELD = re.compile(r"""["'][\w \t]+["']\s*:""")
"""What tells a record of JSON, whole or cut off, from a line of another format."""

OF_THEIR_OWN = "the address, phone or customer_id"

BARE = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "ħ": "h", "ı": "i", "æ": "ae"}
    | {"Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "TH"}
)
"""Letters that Unicode takes for others than those that they are written as without their stroke."""

ESCAPED = re.compile(r"((?:\\x[0-9a-fA-F]{2})+)|((?:\\u[0-9a-fA-F]{4})+)|\\([nrt])|\\(.)", re.DOTALL)

ESCAPES, MISREAD = r"\\|&#?\w{1,8};|%[0-9A-Fa-f]{2}", r"[\x{00C2}\x{00C3}\x{FF00}-\x{FFEF}]"
"""Of a text that holds one of these, the letters may be others than they look; as SQL."""


class Mention(NamedTuple):
    """That a text mentions a person, and by what."""

    certain: bool
    why: str


@dataclass(frozen=True)
class People:
    """What tells of people.

    Attributes
    ----------
    ids
        Their ids, as `rows.normalised` leaves them.
    texts
        E-mails, addresses and phones that nobody else has.
    shared
        Those that somebody else has as well.
    names
        First and last names.
    """

    ids: frozenset[str] = field(repr=False)
    texts: frozenset[str] = field(default=frozenset(), repr=False)
    shared: frozenset[str] = field(default=frozenset(), repr=False)
    names: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)

    def in_line(self, text: str) -> Mention | None:
        """How an unreadable line mentions one of them; it may name its customer, or be of no format that is known."""
        named = set(named_ids(text))
        if any(self._is_id(person) for person in named):
            return Mention(True, "the customer_id")
        found = self.in_text(text, with_names=not named)
        if found:
            return Mention(found.certain and not named, found.why)
        if not named and not FIELD.search(text):
            cells = (cell.strip(" \"'\\") for cell in re.split(r"[,;|\t]", text))
            if any(self._is_id(cell) for cell in cells):
                return Mention(False, "a value that is the customer_id")
        return None

    def in_text(self, text: str, *, with_names: bool = True) -> Mention | None:
        """How a text mentions one of them by what is known of them; what is certain before what is not."""
        found: list[Mention] = []
        for form in forms(text) if _ODD.search(text) else (text,):
            plain = _without_marks(form).lower()
            if any(all(token in plain for token in tokens) for tokens in self._tokens):
                found += self._mentions(form, with_names)
        return max(found, key=lambda mention: mention.certain, default=None)

    def _mentions(self, text: str, with_names: bool) -> Iterator[Mention]:
        folded, mails = f" {words(text)} ", {e_mail(each) for each in E_MAIL.findall(text)}
        untagged, worded = {_untagged(each) for each in mails}, {words(each) for each in mails}
        at = folded.replace(" dot ", " ")
        for value, spelled in self._spelled:
            own = value not in self._shared
            if "@" not in value:
                if f" {spelled} " in folded:
                    yield Mention(own, OF_THEIR_OWN)
            elif value in mails:
                yield Mention(own, "the e-mail")
            elif value in untagged or spelled in worded or f" {words(value.replace('@', ' at '))} " in at:
                yield Mention(False, "an e-mail like theirs")
            elif _cut_off(value, text):
                yield Mention(False, "an e-mail that begins so")
        if with_names and any(all(f" {words(part)} " in folded for part in name) for name in self.names):
            yield Mention(False, "the name")

    def pattern(self) -> re.Pattern[str] | None:
        """What finds e-mails, addresses, phones and names in texts that we wrote ourselves, as they write them."""
        sought = [[value] for value in self.texts | self.shared]
        sought += [list(order) for first, last in self.names for order in ((first, last), (last, first))]
        spelled = {_GAP.join(_letters(part) for value in parts for part in _parts(value)) for parts in sought}
        spelled = sorted((each for each in spelled if each), key=len, reverse=True)
        return re.compile(rf"(?<![^\W_])(?:{'|'.join(spelled)})(?![^\W_])", re.IGNORECASE) if spelled else None

    @property
    def are_known(self) -> bool:
        """Whether more is known of them than their ids."""
        return bool(self._tokens)

    def _is_id(self, text: str) -> bool:
        return bool({text, plain_id(text)} & self._ids)

    @cached_property
    def _ids(self) -> frozenset[str]:
        return self.ids | {plain_id(person) for person in self.ids}

    @cached_property
    def _spelled(self) -> list[tuple[str, str]]:
        return [(value, words(value)) for value in sorted(map(e_mail, self.texts | self.shared))]

    @cached_property
    def _shared(self) -> frozenset[str]:
        return frozenset(map(e_mail, self.shared))

    @cached_property
    def _tokens(self) -> list[list[str]]:
        """By value, what a text that mentions it holds in any spelling that is not escaped."""
        cut = [value.split("@")[0] for value in self.texts | self.shared if "@" in value]
        found = [_tokens(value) for value in (*self.texts, *self.shared, *cut)]
        found += [[*_tokens(first), *_tokens(last)] for first, last in self.names]
        return [tokens for tokens in found if tokens]

    def may_be_in(self, text: str) -> str:
        """Whether a text may mention one of them, as SQL: what says no is never wrong."""
        # One piece of each value, for one pattern is searched for in a sixth of the time that the pieces take.
        pieces = sorted({re.escape(max(tokens, key=len)) for tokens in self._tokens})
        pattern = f"(?i){'|'.join([*pieces, ESCAPES])}"
        return (
            f"(regexp_matches(strip_accents({text}), {literal(pattern)}) or regexp_matches({text}, {literal(MISREAD)}))"
        )


_ODD = re.compile(ESCAPES + "|" + re.sub(r"\\x\{(\w+)\}", r"\\u\1", MISREAD))

_GAP = r"(?:[\W_]|<[^<>]{0,99}>|&#?\w{2,7};|\\[nrtu]|%[0-9A-F]{2}){1,40}?"


def named_ids(text: str) -> Iterator[str]:
    """The ids by which a text names its customer, without what a source's type adds to them."""
    for form in forms(text):
        for found in NAMED_ID.finditer(form):
            value = next(group for group in found.groups() if group is not None).strip()
            if value and value.lower() not in {"null", "none"}:
                yield re.sub(r"^(-?[0-9]+)\.0$", r"\1", value)


def forms(text: str) -> list[str]:
    """A text as it stands, and what it reads as when its escapes are undone; those of a text in a text too."""
    found = [text]
    for _ in range(3):
        last = found[-1]
        undone = html.unescape(unquote(ESCAPED.sub(_unescaped, last)))
        if undone == last:
            break
        found.append(undone)
    # UTF-8 that somebody took for Latin-1.
    with contextlib.suppress(UnicodeError):
        found.append(found[-1].encode("cp1252").decode("utf-8"))
    return list(dict.fromkeys(found))


def _unescaped(found: re.Match[str]) -> str:
    bytes_, units, space, other = found.groups()
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
    """The words of a text, without case, accents and what stands between them."""
    return " ".join(re.findall(r"[^\W_]+", _without_marks(text).casefold()))


def e_mail(text: str) -> str:
    """An e-mail, or another text, as it is compared."""
    return unicodedata.normalize("NFKC", text).strip().rstrip(".").casefold()


def _untagged(address: str) -> str:
    local, _, domain = address.partition("@")
    return f"{local.partition('+')[0]}@{domain}"


def _cut_off(value: str, text: str) -> bool:
    """Whether a text ends within an e-mail, after its sign."""
    begun = e_mail(text[-len(value) - 1 :].rstrip(" \"'"))
    end = begun[begun.rfind(value[: value.index("@") + 1]) :] if value[: value.index("@") + 1] in begun else ""
    return bool(end) and value.startswith(end) and end != value


def _without_marks(text: str) -> str:
    if text.isascii():
        return text
    bare = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return bare.translate(BARE)


def _tokens(value: str) -> list[str]:
    """Pieces of a value that its spellings have in common: the letters of `BARE` are left out, and what becomes two."""
    spelled = re.sub("[ßŉſ]", " ", value.translate(dict.fromkeys(BARE, " ")))
    return re.findall(r"[^\W_]+", _without_marks(spelled).lower())


def plain_id(text: str) -> str:
    """An id without zeros before it."""
    return (text.lstrip("0") or "0") if text.isascii() and text.isdigit() else text


def _parts(value: str) -> list[str]:
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFC", value))


def _letters(word: str) -> str:
    """A word as HTML, JSON and Python write it."""
    spelled = []
    for char in word:
        if char.isascii():
            spelled.append(char)
            continue
        code, plain = ord(char), _without_marks(char)
        forms_of = [char, unicodedata.normalize("NFD", char), plain, f"\\u{code:04x}", f"\\\\u{code:04x}"]
        forms_of += [f"\\x{code:02x}", f"&#{code};", f"&#x{code:x};"]
        named = html.entities.codepoint2name.get(code)
        spelled.append(f"(?:{'|'.join(re.escape(f) for f in [*forms_of, *([f'&{named};'] if named else [])])})")
    return "".join(spelled)


# Where they are mentioned in files of the history.


class Cell(NamedTuple):
    """A value of a row, or an unreadable line, that mentions a person; `of_them` says whether the row is theirs."""

    file: str
    number: int
    column: str | None
    text: str
    customer: str | None
    mention: Mention
    of_them: bool = False


def known(engine: duckdb.DuckDBPyConnection, ids: Iterable[str], files: dict[str, list[str]], is_theirs: str) -> People:
    """What rows of people tell of them.

    Parameters
    ----------
    files
        Source table → its files of rows.
    is_theirs
        Whether a row is of one of them, as SQL.
    """
    asked = {table: _asked(engine, table, addresses) for table, addresses in files.items()}
    own: set[str] = set()
    mails: set[str] = set()
    names: set[tuple[str, str]] = set()
    for table, (declared, further) in asked.items():
        columns = [*declared, *further]
        if not columns:
            continue
        query = f"select distinct {', '.join(map(quoted, columns))} from {read(files[table])} where {is_theirs}"
        for found in engine.execute(query).fetchall():
            values = {c: value.strip() for c, value in zip(columns, found, strict=True) if value and value.strip()}
            if "first_name" in values and "last_name" in values:
                names.add((values.pop("first_name"), values.pop("last_name")))
            for column, value in values.items():
                own |= _telling(column, value, whole=column in declared and not column.endswith("_name"))
            mails |= {values["email"]} if "email" in values else set()
    others = _of_others(engine, files, asked, own, is_theirs)
    shared = {text for text in others if "@" not in text or text in mails}
    return People(frozenset(ids), frozenset({*own, *telling_ids(ids)} - others), frozenset(shared), frozenset(names))


def _asked(engine, table: str, files: Sequence[str]) -> tuple[list[str], list[str]]:
    """The columns of a table that tell of its customer: those which say so, and those that nobody declared."""
    there = columns_of(engine, files) - set(rows.ROW_COLUMNS)
    if "customer_id" not in there:
        return [], []
    declared = {column.name: column for column in source_tables()[table].columns}
    personal = [name for name, column in declared.items() if column.personal and column.data_type == "varchar"]
    return [name for name in personal if name in there], sorted(there - declared.keys())


def telling_ids(ids: Iterable[str]) -> set[str]:
    """The ids that are no number which could be anything else."""
    return {person for person in ids if len(person) >= SHORTEST and (not person.isdigit() or len(person) >= DIGITS)}


def _telling(column: str, value: str, *, whole: bool) -> set[str]:
    """E-mails and phones in a value, and all of it where its column says that it tells who somebody is."""
    found = set(E_MAIL.findall(value))
    # Dates and amounts look like phones, too.
    pattern = PHONE if PHONES.search(column) else ABROAD
    found |= {phone for phone in pattern.findall(value) if sum(map(str.isdigit, phone)) >= DIGITS}
    return found | ({value} if whole and len(value) >= SHORTEST else set())


def _of_others(engine, files: dict[str, list[str]], asked: dict, own: Collection[str], is_theirs: str) -> set[str]:
    """Which texts stand in the rows of other people too."""
    spelled = {text: f" {words(text)} " for text in own if words(text)}
    pieces = sorted({re.escape(max(tokens, key=len)) for text in own if (tokens := _tokens(text))})
    found: set[str] = set()
    for table, (declared, further) in asked.items():
        if not pieces or not (declared or further):
            continue
        query = (
            f"select distinct value from (select unnest([{', '.join(map(quoted, [*declared, *further]))}]) as value "
            f"from {read(files[table])} where not {is_theirs} and coalesce(trim(customer_id), '') != '') "
            "where regexp_matches(strip_accents(value), ?)"
        )
        for (value,) in engine.execute(query, [f"(?i){'|'.join(pieces)}"]).fetchall():
            folded = f" {words(value)} "
            found |= {text for text, words_of in spelled.items() if words_of in folded}
    return found


def in_table(
    engine: duckdb.DuckDBPyConnection,
    people: People,
    table: SourceTable,
    files: Sequence[str],
    unreadable: Sequence[str],
    is_theirs: str,
) -> Iterator[Cell]:
    """The records of a table that mention people otherwise than by their customer_id.

    Parameters
    ----------
    files, unreadable
        Files of rows, and of unreadable lines.
    is_theirs
        Whether a row is of one of them, as SQL.
    """
    if unreadable:
        query = f"select filename, row_number, original from {read(unreadable)} order by 1, 2"
        for file, number, text in engine.execute(query).fetchall():
            if mention := people.in_line(text):
                yield Cell(file, number, None, text, next(named_ids(text), None), mention)
    for cell in _in_rows(engine, people, files, is_theirs):
        if cell.of_them:
            yield cell._replace(mention=cell.mention._replace(certain=True))
        elif cell.customer is None and "customer_id" in table.column_names:
            yield cell._replace(of_them=cell.mention.certain)
        elif cell.customer is None or not _is_their_own(table, cell):
            yield cell._replace(mention=cell.mention._replace(certain=False))


def _in_rows(engine, people: People, files: Sequence[str], is_theirs: str) -> Iterator[Cell]:
    there = columns_of(engine, files)
    columns = sorted(there - set(rows.ROW_COLUMNS))
    if not columns or not people.are_known:
        return
    has_customer = "customer_id" in columns
    customer = rows.normalised("customer_id") if has_customer else "cast(null as varchar)"
    joined = f"concat_ws(chr(10), {', '.join(map(quoted, columns))})"
    query = (
        f"select filename, {number_of(there)}, {customer}, {is_theirs if has_customer else 'false'}, "
        f"{', '.join(map(quoted, columns))} from {read(files)} where {people.may_be_in(joined)} order by 1, 2"
    )
    result = engine.execute(query)
    while fetched := result.fetchmany(10_000):
        for file, place, of, theirs, *values in fetched:
            told = {column: str(value) for column, value in zip(columns, values, strict=True) if value is not None}
            told.pop("customer_id", None)
            if of is None and "first_name" in told and "last_name" in told:
                told["first and last name"] = f"{told['first_name']} {told['last_name']}"
            for column, text in told.items():
                if mention := people.in_text(text):
                    yield Cell(file, place, column, text, of, mention, theirs)


def _is_their_own(table: SourceTable, cell: Cell) -> bool:
    """Whether a value is what another customer may well have too: the name, or the address of a household."""
    personal = {column.name for column in table.columns if column.personal}
    return cell.column in personal and cell.mention.why == OF_THEIR_OWN


def columns_of(engine: duckdb.DuckDBPyConnection, files: Sequence[str]) -> set[str]:
    """The columns of any of some files."""
    if not files:
        return set()
    described = engine.execute(f"describe select * from {read(files)}").fetchall()
    return {name for name, *_ in described} - {"filename", "file_row_number"}


def number_of(columns: Collection[str]) -> str:
    """As `rows.row_number`, where some of the files that are read may lack the column."""
    return "coalesce(_row_number, file_row_number + 1)" if "_row_number" in columns else "file_row_number + 1"


def read(files: Sequence[str]) -> str:
    """A relation of the rows of some files, as SQL."""
    return (
        f"read_parquet({listed(files)}, filename = true, file_row_number = true, union_by_name = true, "
        "hive_partitioning = false)"
    )
