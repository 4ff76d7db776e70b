"""The formats in which objects land: records as DuckDB reads them, and the text of those that are none.

An object holds one JSON object a line, or one JSON array of them, or one document ``{"metadata": {…}, "data": […]}``;
plain or compressed by gzip, which its content tells and not its name.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from duckbook import storage
from duckbook.errors import IngestError
from duckbook.rows import literal
from duckbook.sources import StoredSource, date_in_metadata

if TYPE_CHECKING:
    import duckdb

SMALL_BYTES = 2**20
"""An object below this is fetched whole: for DuckDB to ask for it costs more requests than it has bytes to save."""

GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
OTHER_UNICODE = (b"\xff\xfe", b"\xfe\xff", b"\x00")
SPACE = b" \t\n\r\x0b\x0c"
"""What DuckDB takes for a blank line consists of these."""

DOCUMENT = re.compile(rb'"(?:metadata|data)"\s*:\s*[\[{]')

# DuckDB would take these for a pattern, a query or an escape.
PLAIN_KEY = re.compile(r"[A-Za-z0-9=_./-]+")

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
        return date_in_metadata(json.loads(found[0][0] or "null"))

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
        if head.startswith((GZIP, BOM)) or not PLAIN_KEY.fullmatch(source.key):
            storage.download(client, source.bucket, source.key, local)
    if head.startswith(GZIP):
        local = _unpacked(local, source)
    if local.exists():
        _without_bom(local)
        with local.open("rb") as file:
            head = file.read(SMALL_BYTES)
    if head.startswith(OTHER_UNICODE):
        raise IngestError(f"{source.name} cannot be read: it is not text in UTF-8. Land it as UTF-8.")
    is_local = local.exists()
    size = local.stat().st_size if is_local else source.size
    return Opened(source, str(local) if is_local else source.name, _format(head), size, local, client)


def _format(head: bytes) -> Literal["lines", "array", "document"]:
    start = head.lstrip(SPACE)
    if start.startswith(b"["):
        return "array"
    line, newline, rest = start.partition(b"\n")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        # A document that is longer than the head, or is written over several lines.
        spread = not newline or line.strip() == b"{" or DOCUMENT.match(line.lstrip(b"{ \t"))
        return "document" if start.startswith(b"{") and spread and DOCUMENT.search(start) else "lines"
    if not isinstance(record, dict) or "data" not in record:
        return "lines"
    # A record may have a field that is called data; a document has little else, or is alone in its object.
    alone = isinstance(record["data"], list) and not rest.strip()
    return "document" if alone or set(record) <= {"metadata", "data"} else "lines"


def _unpacked(packed: Path, source: StoredSource) -> Path:
    """Unpack gzip here: DuckDB takes a truncated stream for the end of the file."""
    path = packed.with_suffix(".text")
    try:
        with gzip.open(packed) as content, path.open("wb") as file:
            shutil.copyfileobj(content, file, 2**20)
    except (EOFError, OSError, zlib.error) as error:
        raise IngestError(f"{source.name} cannot be read: its gzip is broken ({error}). Land it again.") from error
    packed.unlink()
    return path


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
        keys[:] = [name.strip().lower() for name, _ in pairs]
        return dict(pairs)

    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=noted)
    except UnicodeDecodeError as error:
        return f"is not UTF-8 at byte {error.start + 1}"
    except (ValueError, RecursionError) as error:
        at = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        return f"is not JSON: {getattr(error, 'msg', 'it is nested too deep').removesuffix(' at')}{at}"
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        return f"is not a JSON object but {kind}"
    twice = sorted({name for name in keys if keys.count(name) > 1})
    return f"the column {twice[0]} stands in it twice" if twice else "is not strict JSON"
