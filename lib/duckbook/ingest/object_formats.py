"""Parse landed objects; keep the raw text of lines that are not records.

An object holds one JSON object per line, one JSON array of them, or one document ``{"metadata": {…}, "data": […]}``;
plain or compressed by gzip, Zstandard or bzip2. Format and compression are detected from the content, not the name.
"""

from __future__ import annotations

import bz2
import gzip
import json
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from duckbook.backends import storage
from duckbook.errors import IngestError
from duckbook.ingest.rows import column_name
from duckbook.ingest.sources import StoredSource, date_in_metadata
from duckbook.source_tables import source_tables
from duckbook.sql import literal

if TYPE_CHECKING:
    import duckdb
    import pyarrow
    from mypy_boto3_s3 import S3Client

    from duckbook.source_tables import SourceTable

SMALL_BYTES = 2**20
"""Smaller objects are downloaded whole, because DuckDB would need more requests."""

GZIP, ZSTANDARD, BZIP2 = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh"
COMPRESSED = {GZIP: "gzip", ZSTANDARD: "zstd", BZIP2: "bzip2"}
"""First bytes of compressed content → compression."""

UNSUPPORTED = {
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "compressed by xz",
    b"PAR1": "a Parquet file",
    b"\x04\x22\x4d\x18": "compressed by lz4",
}
"""First bytes of content that is not read → what it is."""

BOM = b"\xef\xbb\xbf"
OTHER_UNICODE = (b"\xff\xfe", b"\xfe\xff", b"\x00")
SPACE = b" \t\n\r\x0b\x0c"
"""Characters of lines that DuckDB treats as blank."""

DOCUMENT = re.compile(rb'"(?:metadata|data)"\s*:\s*[\[{]')

PLAIN_KEY = re.compile(r"[A-Za-z0-9=_./-]+")
"""Keys that DuckDB does not interpret as a pattern, a query or an escape."""

MAX_LEVELS = 100
"""Records nested deeper are unreadable: many JSON parsers, Python's included, fail on them."""

LARGEST_RECORD = 16 * 2**20
"""DuckDB's own default; its buffers grow and shrink with it."""


@dataclass
class OpenedObject:
    """An object ready to be read: its location for DuckDB, its format and the path of its local copy."""

    source: StoredSource
    location: str
    format: Literal["lines", "array", "document"]
    size: int
    local: Path
    client: S3Client
    has_huge_records: bool = False

    @property
    def largest(self) -> int:
        """Maximum bytes per record; a document is a single record."""
        whole = max(self.size, 2**16)
        return whole if self.format == "document" or self.has_huge_records else min(whole, LARGEST_RECORD)

    @property
    def records_sql(self) -> str:
        """Query that returns the records in order, as JSON in the column `json`; null for a line that is not JSON."""
        where = f"{literal(self.location)}, maximum_object_size = {self.largest}"
        if self.format == "lines":
            return f"select json from read_ndjson_objects({where}, ignore_errors = true)"
        if self.format == "array":
            return f"select json from read_json_objects({where}, format = 'array')"
        documents = f"read_json_objects({where}, format = 'unstructured')"
        return f"select unnest(json_extract(json, '$.data[*]')) as json from {documents}"

    def declared(self, connection: duckdb.DuckDBPyConnection) -> date | None:
        """Return the date that a document's metadata declares.

        Raises
        ------
        IngestError
            The document has no list of records.
        """
        if self.format != "document":
            return None
        documents = connection.execute(
            "select json -> 'metadata', json_type(json, '$.data') from read_json_objects("
            f"{literal(self.location)}, format = 'unstructured', maximum_object_size = {self.largest})"
        ).fetchall()
        if len(documents) != 1 or documents[0][1] != "ARRAY":
            raise IngestError(
                f"{self.source.name} cannot be read: a document holds a list of records under "
                '"data", and nothing follows it. Fix it at its source and land it again.'
            )
        try:
            return date_in_metadata(json.loads(documents[0][0] or "null"))
        except RecursionError:
            return None

    def lines(self, numbers: Sequence[int]) -> list[bytes]:
        """Return lines by ascending number among those that are not blank; the first is 0.

        Raises
        ------
        IngestError
            The object does not hold the lines that DuckDB counted.
        """
        if not self.local.exists():
            storage.download(self.client, self.source.bucket, self.source.key, self.local)
        with self.local.open("rb") as file:
            lines = list(_select((line for line in file if line.strip(SPACE)), numbers))
        if len(lines) != len(numbers):
            raise IngestError(f"{self.source.name} changed while it was read: run the ingest again.")
        return [line.strip(SPACE) for line in lines]


def _select(lines: Iterable[bytes], numbers: Sequence[int]) -> Iterator[bytes]:
    last = -1
    for number in numbers:
        yield from islice(lines, number - last - 1, number - last)
        last = number


def open_object(client: S3Client, source: StoredSource, folder: Path) -> OpenedObject:
    """Detect the format of an object; copy it to `folder` and unpack it if DuckDB cannot read it in place.

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
    for magic, what in UNSUPPORTED.items():
        if head.startswith(magic):
            raise IngestError(f"{source.name} cannot be read: it is {what}. Land JSON, plain or compressed by gzip.")
    if (kind := next((name for magic, name in COMPRESSED.items() if head.startswith(magic)), None)) is not None:
        local = _unpack(local, source, kind)
    if local.exists():
        _remove_bom(local)
        with local.open("rb") as file:
            head = file.read(SMALL_BYTES)
    # A line of UTF-8 may begin with such a byte by mistake; in UTF-16 and UTF-32 many bytes are zero.
    if head.startswith(OTHER_UNICODE) and head[:64].count(0) > len(head[:64]) // 4:
        raise IngestError(f"{source.name} cannot be read: it is not text in UTF-8. Land it as UTF-8.")
    is_local = local.exists()
    size = local.stat().st_size if is_local else source.size
    location = str(local) if is_local else source.name
    return OpenedObject(source, location, _detect_format(head, source_tables()[source.table]), size, local, client)


def _parse(line: bytes | str, hook: Callable[[list[tuple[str, Any]]], object] | None = None) -> Any:
    """Parse JSON; integers stay text, because Python refuses very long ones."""
    return json.loads(line, parse_int=str, object_pairs_hook=hook)


def _detect_format(head: bytes, table: SourceTable) -> Literal["lines", "array", "document"]:
    start = head.lstrip(SPACE)
    if start.startswith(b"["):
        return "array"
    line, newline, rest = start.partition(b"\n")
    try:
        record = _parse(line)
    except (ValueError, RecursionError):
        # A document that is longer than the head or spans several lines.
        spread = not newline or line.strip() == b"{" or DOCUMENT.match(line.lstrip(b"{ \t"))
        found = DOCUMENT.search(start) if start.startswith(b"{") and spread else None
        keys = b"|".join(re.escape(name.encode()) for name in table.key)
        return "document" if found and not re.search(rb'"(%s)"\s*:' % keys, start[: found.start()]) else "lines"
    if not isinstance(record, dict) or "data" not in record:
        return "lines"
    # A record may itself have a list called data: then it also has a key, or the list holds no records.
    columns = set(table.column_names)
    names = {column_name(name) for name in record if name not in {"metadata", "data"}}
    if names & set(table.key):
        return "lines"
    data, alone = record["data"], not rest.strip()
    holds_records = isinstance(data, list) and any(
        isinstance(element, dict) and columns & {*map(column_name, element)} for element in data
    )
    if not names:
        return "document" if alone or holds_records or "metadata" in record else "lines"
    return "document" if alone and isinstance(data, list) and (holds_records or not names & columns) else "lines"


def _unpack(packed: Path, source: StoredSource, kind: str) -> Path:
    """Decompress a file in Python: DuckDB accepts truncated gzip without an error and does not support bzip2."""
    path = packed.with_suffix(".text")
    try:
        with _open_compressed(packed, kind) as content, path.open("wb") as file:
            shutil.copyfileobj(content, file, 2**20)
    except (EOFError, OSError, zlib.error) as error:
        why = f"its {kind} is broken ({error})"
        raise IngestError(f"{source.name} cannot be read: {why}. Land it again.") from error
    packed.unlink()
    return path


def _open_compressed(packed: Path, kind: str) -> gzip.GzipFile | bz2.BZ2File | pyarrow.NativeFile:
    if kind == "zstd":
        import pyarrow

        return pyarrow.input_stream(str(packed), compression="zstd")
    return gzip.open(packed) if kind == "gzip" else bz2.open(packed)


def _remove_bom(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(BOM)) != BOM:
            return
        bare = path.with_suffix(".bare")
        with bare.open("wb") as out:
            shutil.copyfileobj(file, out, 2**20)
    bare.replace(path)


def why_unreadable(line: bytes) -> str:
    """Return why a line is not a record."""
    keys: list[str] = []

    def collect_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Inner objects are parsed before outer ones, so the last call has the keys of the record.
        keys[:] = [name for name, _ in pairs]
        return dict(pairs)

    try:
        value = _parse(line.decode("utf-8"), collect_keys)
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
    twice = [name for name, n in Counter(map(column_name, keys)).items() if n > 1]
    if twice:
        # Only Python accepts half of a surrogate pair as a character.
        return f"has the column {min(twice)} twice".encode("utf-8", "backslashreplace").decode()
    if any("\0" in name for name in keys):
        return "has a name with the character U+0000"
    return TOO_DEEP if _depth(line) > MAX_LEVELS else "is not strict JSON"


TOO_DEEP = f"is nested more than {MAX_LEVELS} levels deep"


def _depth(line: bytes) -> int:
    """Return the nesting depth of JSON."""
    level = deepest = 0
    for bracket in re.findall(rb"[\[\]{}]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", line)):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest
