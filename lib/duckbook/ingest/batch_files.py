"""Turn readings into batches and the local files that the history needs for them.

Tables are processed concurrently. Only local files are written: the caller uploads them and commits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from hashlib import md5
from pathlib import Path

import duckdb

from duckbook.backends import parallel, warehouse
from duckbook.errors import IngestError
from duckbook.files import checksum
from duckbook.ingest import versions
from duckbook.ingest.batches import Batch, History, Place, file_key, is_in_origin, place
from duckbook.ingest.reading import Reading
from duckbook.ingest.rows import row_number
from duckbook.ingest.versions import File
from duckbook.source_tables import source_tables
from duckbook.sql import PARQUET, literal, quoted

MANY_FILES, MANY_THREADS = 8, 16
"""Above this many files of a table, reads are latency-bound, so use more threads."""

FEW_ROWS = 200_000
"""Below this many rows, several threads cost DuckDB more than they save."""

MANY_ROWS = 50_000
"""Rows from which a batch counts as large."""

FEW_UNCHANGED = 0.05
"""Below this share of a large batch, unchanged rows stay in its file of rows, so that it is not written twice."""

ANY_PLACE: Place = (date.min, False, "", 0)
"""Place of files that are compared regardless of time."""

Files = dict[str, Path]
"""Key in the historic bucket → local file."""


def append(
    connection: duckdb.DuckDBPyConnection, bucket: str, history: History, as_of: date, readings: Sequence[Reading]
) -> tuple[list[Batch], Files]:
    """Compare readings with the history and write what it lacks to local files.

    Parameters
    ----------
    bucket
        The historic bucket.
    as_of
        Last day of data; the date of batches that declare none.
    readings
        Readings of any tables, in order of arrival.

    Returns
    -------
    tuple
        The batches per table in order of arrival, and their files.

    Raises
    ------
    IngestError
        The flows of a batch do not add up.
    """
    sequences = {id(r): n for n, r in enumerate(readings, history.next_sequence)}
    tables = {
        name: [r for r in readings if r.source.table == name]
        for name in dict.fromkeys(r.source.table for r in readings)
    }

    def append_table(cursor: duckdb.DuckDBPyConnection, name: str) -> tuple[list[Batch], Files]:
        return _append_table(cursor, bucket, history, as_of, name, tables[name], sequences)

    largest_first = sorted(tables, key=lambda name: -sum(r.readable for r in tables[name]))
    with warehouse.limit_threads(connection, *_threads_for(tables, history)):
        appended = dict(
            zip(largest_first, parallel.run_concurrently(connection, append_table, largest_first), strict=True)
        )
    batches = [batch for name in tables for batch in appended[name][0]]
    return batches, {key: path for name in tables for key, path in appended[name][1].items()}


def _threads_for(tables: Mapping[str, Sequence[Reading]], history: History) -> tuple[int, int | None]:
    """Return the minimum and maximum number of threads for comparing readings with the history."""
    files = Counter(batch.table for batch in history.batches if "rows" in batch.files)
    if max((files[name] for name in tables), default=0) >= MANY_FILES:
        return MANY_THREADS, None
    rows = sum(r.readable for readings in tables.values() for r in readings)
    return 1, 1 if rows < FEW_ROWS else None


def _append_table(
    connection: duckdb.DuckDBPyConnection,
    bucket: str,
    history: History,
    as_of: date,
    name: str,
    readings: Sequence[Reading],
    sequences: Mapping[int, int],
) -> tuple[list[Batch], Files]:
    """Run `append` for one table."""
    batches: list[Batch] = []
    files: Files = {}
    places = [place(r.date or as_of, r.date is not None, r.source.name, sequences[id(r)]) for r in readings]
    conflicting = find_conflicting(connection, readings)
    gone = [find_gone(connection, bucket, history, r)[0] for r in readings]
    unchanged = _find_unchanged(connection, bucket, history, name, readings, places)
    types = _ColumnTypes(readings, [batch for batch in history.batches if batch.table == name])
    for r, keys_gone in zip(readings, gone, strict=True):
        changed = types.changed(r)
        batch, local = as_batch(connection, r, sequences[id(r)], as_of, unchanged.get(str(r.path), 0), changed)
        batch = replace(batch, conflicting=conflicting.get(str(r.path), (0, ""))[0], gone=keys_gone)
        if batch.landed != batch.appended + batch.unchanged + batch.unreadable:
            raise IngestError(
                f"{batch.source}: {batch.landed} rows landed, but {batch.appended} appended, {batch.unchanged} "
                f"unchanged and {batch.unreadable} unreadable rows do not add up to that. Nothing was ingested."
            )
        batches.append(batch)
        types.add(batch)
        files |= local
    return batches, files


def find_conflicting(connection: duckdb.DuckDBPyConnection, readings: Sequence[Reading]) -> dict[str, tuple[int, str]]:
    """Run `versions.find_conflicting` on readings of one table."""
    files = [File(str(r.path), r.columns, r.types, ANY_PLACE) for r in readings if r.readable]
    return versions.find_conflicting(connection, source_tables()[readings[0].source.table], files) if files else {}


def find_gone(connection: duckdb.DuckDBPyConnection, bucket: str, history: History, r: Reading) -> tuple[int, str]:
    """Run `versions.find_gone` on a source that was read before; keys always leave sources of the latest days."""
    before = None if r.source.latest else history.newest.get(r.source.name)
    if before is None:
        return 0, ""
    paths = {role: f"s3://{bucket}/{key}" for role, key in before.files.items()}
    files = [File(paths["rows"], before.columns, before.types, ANY_PLACE)] if "rows" in paths else []
    landed = File(str(r.path), r.columns, r.types, ANY_PLACE)
    return versions.find_gone(connection, source_tables()[before.table], landed, files, paths.get("sightings"))


def _find_unchanged(
    connection: duckdb.DuckDBPyConnection,
    bucket: str,
    history: History,
    name: str,
    readings: Sequence[Reading],
    places: Sequence[Place],
) -> dict[str, int]:
    """Make the temp table `unchanged`; return the number of unchanged rows per file."""
    before = [batch for batch in history.batches if batch.table == name]

    def files(role: str, batches: Sequence[Batch]) -> list[tuple[Batch, str]]:
        return [(batch, f"s3://{bucket}/{batch.files[role]}") for batch in batches if role in batch.files]

    versions.find_unchanged(
        connection,
        source_tables()[name],
        landed=[File(str(r.path), r.columns, r.types, where) for r, where in zip(readings, places, strict=True)],
        appended=[File(path, batch.columns, batch.types, batch.place) for batch, path in files("rows", before)],
        unchanged_before=[(path, batch.place) for batch, path in files("sightings", _overtaken(before, places))],
        rows_landed=sum(r.readable for r in readings),
    )
    return dict(connection.execute("select file, count(*) from unchanged group by file").fetchall())


def _overtaken(before: Sequence[Batch], places: Sequence[Place]) -> list[Batch]:
    """Return the batches that are later in time than a batch that arrived after them.

    An unchanged row equals the version that preceded it when it landed. Only an overtaken batch can now have another
    version in between, so only its unchanged rows need to be read.

    Parameters
    ----------
    before
        The table's batches in the history, in order of arrival.
    places
        Places of the batches that arrive now.
    """
    earliest, overtaken = min(places), []
    for batch in reversed(before):
        if batch.place > earliest:
            overtaken.append(batch)
        if "rows" in batch.files:
            earliest = min(earliest, batch.place)
    return overtaken


class _ColumnTypes:
    """Last known column types of a table, per origin and per system."""

    def __init__(self, readings: Sequence[Reading], before: Sequence[Batch]) -> None:
        self._origins = {r.source.origin for r in readings}
        self._known: dict[str, dict[str, str]] = {}
        for batch in before:
            self.add(batch)

    def add(self, batch: Batch) -> None:
        """Record the types of a batch."""
        for key in (batch.system, *(origin for origin in self._origins if is_in_origin(batch.source, origin))):
            self._known.setdefault(key, {}).update(batch.types)

    def changed(self, r: Reading) -> list[str]:
        """Return the columns whose type changed at their origin or, if that is new, in their system."""
        known = self._known.get(r.source.system, {}) | self._known.get(r.source.origin, {})
        return [f"{name}: {known[name]}, now {now}" for name, now in r.types.items() if known.get(name, now) != now]


def as_batch(
    connection: duckdb.DuckDBPyConnection,
    r: Reading,
    sequence: int,
    as_of: date,
    unchanged: int = 0,
    changed: Sequence[str] = (),
) -> tuple[Batch, Files]:
    """Return a reading as a batch, and its files; its unchanged rows are in the temp table `unchanged`."""
    batch_date = r.date or as_of
    digest = md5(r.content_hash.encode(), usedforsecurity=False).hexdigest()[:8]
    batch_id = f"{r.source.table}-{batch_date:%Y%m%d}-{sequence:05d}-{digest}"
    local, counts = _write_files(connection, r, unchanged)
    keys = {role: file_key(r.source.table, batch_id, role) for role in local}
    with_sightings = bool(unchanged) and local.get("rows") == r.path
    numbered = ("_row_number",) if unchanged and not with_sightings and "_row_number" not in r.columns else ()
    batch = Batch(
        batch_id=batch_id,
        table=r.source.table,
        system=r.source.system,
        source=r.source.name,
        batch_date=batch_date,
        declared=r.date is not None,
        sequence=sequence,
        fingerprint=r.source.fingerprint,
        content_hash=r.content_hash,
        as_of=as_of,
        landed=r.landed,
        appended=counts.get("rows", 0),
        unchanged=counts.get("sightings", 0),
        unreadable=counts.get("unreadable", 0),
        drift=r.drift | {"changed": list(changed)},
        columns=(*r.columns, *numbered),
        files=keys,
        types=r.types,
        sha256={role: checksum(path) for role, path in local.items()},
        size=sum(path.stat().st_size for path in local.values()),
        with_sightings=with_sightings,
    )
    return batch, {keys[role]: path for role, path in local.items()}


def _write_files(connection: duckdb.DuckDBPyConnection, r: Reading, unchanged: int) -> tuple[Files, dict[str, int]]:
    """Write the new, unchanged and unreadable rows to a file each; return the file and the row count per role.

    Rows are counted as they are written, so that the check of the flows is independent. A file of rows that is kept
    whole is counted when raw is loaded.
    """
    local, counts = {}, {}
    if r.unreadable:
        local["unreadable"], counts["unreadable"] = r.unreadable
    if not unchanged:
        return (local | {"rows": r.path}, counts | {"rows": r.readable}) if r.readable else (local, counts)
    file = literal(str(r.path))
    number = row_number(r.columns)
    columns = ", ".join(quoted(name) for name in r.columns if name != "_row_number")
    queries = {
        # Not sorted, which would spill large batches to disk: rows carry their numbers.
        "rows": f"select {columns}, {number} as _row_number from read_parquet({file}, file_row_number = true) "
        f"where {number} not in (select row_number from unchanged where file = {file})",
        "sightings": "select key as _key, row_hash as _row_hash, row_number as _row_number from unchanged "
        f"where file = {file} order by row_number",
    }
    if r.landed >= MANY_ROWS and unchanged < FEW_UNCHANGED * r.readable:
        local["rows"], counts["rows"] = r.path, r.readable - unchanged
        del queries["rows"]
    for role, query in queries.items():
        if role == "sightings" or unchanged < r.readable:
            local[role] = r.path.with_name(f"{role}.parquet")
            [(counts[role],)] = connection.execute(
                f"copy ({query}) to {literal(str(local[role]))} {PARQUET}"
            ).fetchall()
    return local, counts
