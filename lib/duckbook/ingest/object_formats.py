"""The formats in which objects land: records as DuckDB reads them, and the text of those that are none.

An object holds one JSON object a line, or one JSON array of them, or one document ``{"metadata": {…}, "data": […]}``;
plain or compressed by gzip, Zstandard or bzip2, which its content tells and not its name.
"""

from __future__ import annotations

import bz2
import gzip
import json
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from duckbook.backends import storage
from duckbook.errors import IngestError
from duckbook.ingest.rows import column_name
from duckbook.ingest.sources import StoredSource, date_in_metadata
from duckbook.source_tables import source_tables
from duckbook.sql import literal

if TYPE_CHECKING:
    import duckdb

    from duckbook.source_tables import SourceTable

SMALL_BYTES = 2**20
"""An object below this is fetched whole: for DuckDB to ask for it costs more requests than it has bytes to save."""

GZIP, ZSTANDARD, BZIP2 = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh"
COMPRESSED = {GZIP: "gzip", ZSTANDARD: "zstd", BZIP2: "bzip2"}
"""How compressed content begins → what compressed it."""

OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "compressed by xz",
    b"PAR1": "a Parquet file",
    b"\x04\x22\x4d\x18": "compressed by lz4",
}
"""How content begins that is not read → what it is."""

BOM = b"\xef\xbb\xbf"
OTHER_UNICODE = (b"\xff\xfe", b"\xfe\xff", b"\x00")
SPACE = b" \t\n\r\x0b\x0c"
"""What DuckDB takes for a blank line consists of these."""

DOCUMENT = re.compile(rb'"(?:metadata|data)"\s*:\s*[\[{]')

# DuckDB would take these for a pattern, a query or an escape.
PLAIN_KEY = re.compile(r"[A-Za-z0-9=_./-]+")

MOST_LEVELS = 100
"""A record that is nested deeper is set aside: many programs that read JSON, Python's among them, break on it."""

LARGEST_RECORD = 16 * 2**20
"""DuckDB's own default; its buffers grow with it, and shrink."""


@dataclass
class Opened:
    """An object that can be read: where DuckDB finds it, its format, and its copy, once there is one."""

    source: StoredSource
    location: str
    format: Literal["lines", "array", "document"]
    size: int
    local: Path
    client: object
    has_huge_records: bool = False

    @property
    def largest(self) -> int:
        """Bytes that a record may have: a document is one."""
        enough = max(self.size, 2**16)
        return enough if self.format == "document" or self.has_huge_records else min(enough, LARGEST_RECORD)

    @property
    def records_sql(self) -> str:
        """A query that yields the records in order, as JSON in the column `json`; null for a line that is not JSON."""
        where = f"{literal(self.location)}, maximum_object_size = {self.largest}"
        if self.format == "lines":
            return f"select json from read_ndjson_objects({where}, ignore_errors = true)"
        if self.format == "array":
            return f"select json from read_json_objects({where}, format = 'array')"
        documents = f"read_json_objects({where}, format = 'unstructured')"
        return f"select unnest(json_extract(json, '$.data[*]')) as json from {documents}"

    def declared(self, connection: duckdb.DuckDBPyConnection) -> date | None:
        """The date that a document's metadata declares.

        Raises
        ------
        IngestError
            The document has no list of data.
        """
        if self.format != "document":
            return None
        found = connection.execute(
            "select json -> 'metadata', json_type(json, '$.data') from read_json_objects("
            f"{literal(self.location)}, format = 'unstructured', maximum_object_size = {self.largest})"
        ).fetchall()
        if len(found) != 1 or found[0][1] != "ARRAY":
            raise IngestError(
                f"{self.source.name} cannot be read: a document holds a list of records under "
                '"data", and nothing follows it. Fix it at its source and land it again.'
            )
        try:
            return date_in_metadata(json.loads(found[0][0] or "null"))
        except RecursionError:
            return None

    def lines(self, numbers: Sequence[int]) -> list[bytes]:
        """Lines as they stand, by ascending number among those that are not blank; the first is 0.

        Raises
        ------
        IngestError
            The object does not hold the lines that DuckDB counted.
        """
        if not self.local.exists():
            storage.download(self.client, self.source.bucket, self.source.key, self.local)
        with self.local.open("rb") as file:
            lines = (line for line in file if line.strip(SPACE))
            found = list(_picked(lines, numbers))
        if len(found) != len(numbers):
            raise IngestError(f"{self.source.name} changed while it was read: run the ingest again.")
        return [line.strip(SPACE) for line in found]


def _picked(lines: Iterable[bytes], numbers: Sequence[int]) -> Iterator[bytes]:
    last = -1
    for number in numbers:
        yield from islice(lines, number - last - 1, number - last)
        last = number


def opened(client, source: StoredSource, folder: Path) -> Opened:
    """Find out how an object is to be read; what DuckDB cannot read where it lies is copied into `folder` first.

    Raises
    ------
    IngestError
        The object is not text in UTF-8, or its compression is broken.
    """
    local = folder / "object.copy"
    if source.size < SMALL_BYTES:
        head = storage.get_bytes(client, source.bucket, source.key)
        if head is None:
            raise IngestError(f"{source.name} was deleted while it was read: run the ingest again.")
        local.write_bytes(head)
    else:
        head = storage.read_head(client, source.bucket, source.key, SMALL_BYTES)
        if head.startswith((*COMPRESSED, BOM)) or not PLAIN_KEY.fullmatch(source.key):
            storage.download(client, source.bucket, source.key, local)
    for magic, what in OTHERS.items():
        if head.startswith(magic):
            raise IngestError(f"{source.name} cannot be read: it is {what}. Land JSON, plain or compressed by gzip.")
    if (kind := _compressed_by(head)) is not None:
        local = _unpacked(local, source, kind)
    if local.exists():
        _without_bom(local)
        with local.open("rb") as file:
            head = file.read(SMALL_BYTES)
    # A line may begin with a byte that is none of its own; in another encoding every other byte is zero.
    if head.startswith(OTHER_UNICODE) and head[:64].count(0) > len(head[:64]) // 4:
        raise IngestError(f"{source.name} cannot be read: it is not text in UTF-8. Land it as UTF-8.")
    is_local = local.exists()
    size = local.stat().st_size if is_local else source.size
    return Opened(
        source,
        str(local) if is_local else source.name,
        _format(head, source_tables()[source.table]),
        size,
        local,
        client,
    )


def _parsed(line: bytes | str, hook=None):
    """JSON as Python objects; an integer stays text, for Python refuses one of many digits."""
    return json.loads(line, parse_int=str, object_pairs_hook=hook)


def _format(head: bytes, table: SourceTable) -> Literal["lines", "array", "document"]:
    start = head.lstrip(SPACE)
    if start.startswith(b"["):
        return "array"
    line, newline, rest = start.partition(b"\n")
    try:
        record = _parsed(line)
    except (ValueError, RecursionError):
        # A document that is longer than the head, or is written over several lines.
        spread = not newline or line.strip() == b"{" or DOCUMENT.match(line.lstrip(b"{ \t"))
        found = DOCUMENT.search(start) if start.startswith(b"{") and spread else None
        keys = b"|".join(re.escape(name.encode()) for name in table.key)
        return "document" if found and not re.search(rb'"(%s)"\s*:' % keys, start[: found.start()]) else "lines"
    if not isinstance(record, dict) or "data" not in record:
        return "lines"
    # A record may have a list that is called data: then it has a key as well, or what is in the list are no records.
    mine, names = set(table.column_names), {column_name(name) for name in record if name not in {"metadata", "data"}}
    if names & set(table.key):
        return "lines"
    data, alone = record["data"], not rest.strip()
    holds_records = isinstance(data, list) and any(
        isinstance(one, dict) and mine & {*map(column_name, one)} for one in data
    )
    if not names:
        return "document" if alone or holds_records or "metadata" in record else "lines"
    return "document" if alone and isinstance(data, list) and (holds_records or not names & mine) else "lines"


def _compressed_by(head: bytes) -> str | None:
    return next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)


def _unpacked(packed: Path, source: StoredSource, kind: str) -> Path:
    """Unpack here: DuckDB takes a truncated stream of gzip for the end of the file, and knows no bzip2."""
    path = packed.with_suffix(".text")
    try:
        with _uncompressed(packed, kind) as content, path.open("wb") as file:
            shutil.copyfileobj(content, file, 2**20)
    except (EOFError, OSError, zlib.error) as error:
        why = f"its {kind} is broken ({error})"
        raise IngestError(f"{source.name} cannot be read: {why}. Land it again.") from error
    packed.unlink()
    return path


def _uncompressed(packed: Path, kind: str) -> BinaryIO:
    if kind == "zstd":
        import pyarrow

        return pyarrow.input_stream(str(packed), compression="zstd")
    return gzip.open(packed) if kind == "gzip" else bz2.open(packed)


def _without_bom(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(BOM)) != BOM:
            return
        bare = path.with_suffix(".bare")
        with bare.open("wb") as out:
            shutil.copyfileobj(file, out, 2**20)
    bare.replace(path)


def why_unreadable(line: bytes) -> str:
    """What keeps a line from being a record, in words."""
    keys: list[str] = []

    def noted(pairs: list[tuple[str, object]]) -> dict:
        # Inner objects are built before the outer one: what is left at the end are the keys of the record.
        keys[:] = [name for name, _ in pairs]
        return dict(pairs)

    try:
        value = _parsed(line.decode("utf-8"), noted)
    except UnicodeDecodeError as error:
        return f"is not UTF-8 at byte {error.start + 1}"
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg.removesuffix(' at')} at character {error.pos + 1}"
    except RecursionError:
        return TOO_DEEP
    if not isinstance(value, dict):
        kind = {list: "an array", bool: "true or false", type(None): "null", float: "a number"}.get(type(value))
        kind = kind or ("a text" if line.lstrip(SPACE).startswith(b'"') else "a number")
        return f"is not a JSON object but {kind}"
    # Half of a surrogate pair is a character to Python, and to nobody else.
    twice = [name for name, n in Counter(map(column_name, keys)).items() if n > 1]
    if twice:
        return f"the column {min(twice)} stands in it twice".encode("utf-8", "backslashreplace").decode()
    if any("\0" in name for name in keys):
        return "a name in it holds the character U+0000"
    return TOO_DEEP if _levels(line) > MOST_LEVELS else "is not strict JSON"


TOO_DEEP = f"is nested more than {MOST_LEVELS} levels deep"


def _levels(line: bytes) -> int:
    """How deep JSON is nested."""
    level = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", line)):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest
