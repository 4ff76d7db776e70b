"""From readings to batches: what is new in them becomes the files that the history is to get.

Works table by table, some of them side by side, and changes nothing but local files; the caller puts them into S3 and
commits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from hashlib import file_digest, md5
from pathlib import Path

import duckdb

from duckbook.backends import parallel, warehouse
from duckbook.errors import IngestError
from duckbook.ingest import versions
from duckbook.ingest.batches import Batch, Chronicle, Place, file_key, lies_in, place
from duckbook.ingest.reading import Reading
from duckbook.ingest.rows import row_number
from duckbook.ingest.versions import File
from duckbook.source_tables import source_tables
from duckbook.sql import PARQUET, literal, quoted

MANY_FILES, MANY_THREADS = 8, 16
"""From so many files of a table on, reading them is waiting for the server, which more threads do at once."""

FEW_ROWS = 200_000
"""For fewer, DuckDB spends more on sharing the work out than it saves."""

MANY_ROWS = 50_000
"""A batch of so many rows is large."""

FEW = 0.05
"""Below this share of a large batch, rows that are unchanged stay in its file, where the sightings name them."""

EVERYWHERE: Place = (date.min, False, "", 0)
"""The place of files that are compared without regard to time."""

Files = dict[str, Path]
"""Key in the historic bucket → local file."""


def append(
    connection: duckdb.DuckDBPyConnection, bucket: str, chronicle: Chronicle, as_of: date, readings: Sequence[Reading]
) -> tuple[list[Batch], Files]:
    """Compare readings with the history, and write what it lacks to local files.

    Parameters
    ----------
    bucket
        The historic bucket, where the files of the history lie.
    as_of
        Last day of data; the date of a batch that declares none.
    readings
        New batches of any tables, in order of arrival.

    Returns
    -------
    tuple
        The batches in order of arrival, and the files that belong to them.

    Raises
    ------
    IngestError
        The flows of a batch do not add up.
    """
    sequences = {id(r): n for n, r in enumerate(readings, chronicle.next_sequence)}
    tables = {
        name: [r for r in readings if r.source.table == name]
        for name in dict.fromkeys(r.source.table for r in readings)
    }

    def compared(cursor: duckdb.DuckDBPyConnection, name: str) -> tuple[list[Batch], Files]:
        return _append_table(cursor, bucket, chronicle, as_of, name, tables[name], sequences)

    largest_first = sorted(tables, key=lambda name: -sum(r.readable for r in tables[name]))
    with warehouse.limit_threads(connection, *_threads_for(tables, chronicle)):
        found = dict(zip(largest_first, parallel.run_concurrently(connection, compared, largest_first), strict=True))
    batches = [batch for name in tables for batch in found[name][0]]
    return batches, {key: path for name in tables for key, path in found[name][1].items()}


def _threads_for(tables: Mapping[str, Sequence[Reading]], chronicle: Chronicle) -> tuple[int, int | None]:
    """The least and the most threads that help with comparing readings with the history."""
    files = Counter(batch.table for batch in chronicle.batches if "rows" in batch.files)
    if max((files[name] for name in tables), default=0) >= MANY_FILES:
        return MANY_THREADS, None
    rows = sum(r.readable for readings in tables.values() for r in readings)
    return 1, 1 if rows < FEW_ROWS else None


def _append_table(
    connection,
    bucket: str,
    chronicle: Chronicle,
    as_of: date,
    name: str,
    readings: Sequence[Reading],
    sequences: Mapping[int, int],
) -> tuple[list[Batch], Files]:
    """As `append`, for the readings of one table."""
    batches: list[Batch] = []
    files: Files = {}
    places = [place(r.date or as_of, r.date is not None, r.source.name, sequences[id(r)]) for r in readings]
    conflicting = find_conflicting(connection, readings)
    gone = [find_gone(connection, bucket, chronicle, r)[0] for r in readings]
    found = _find_unchanged(connection, bucket, chronicle, name, readings, places)
    types = _Types(readings, [batch for batch in chronicle.batches if batch.table == name])
    for r, keys_gone in zip(readings, gone, strict=True):
        changed = types.changed(r)
        unchanged = found.get(str(r.path), 0)
        batch, local = as_batch(connection, r, sequences[id(r)], as_of, unchanged, changed)
        batch = replace(batch, conflicting=conflicting.get(str(r.path), (0, ""))[0], gone=keys_gone)
        if batch.landed != batch.appended + batch.unchanged + batch.unreadable:
            raise IngestError(
                f"{batch.source}: {batch.landed} rows landed, but {batch.appended} appended, {batch.unchanged} "
                f"unchanged and {batch.unreadable} unreadable do not add up to them. Nothing was ingested."
            )
        batches.append(batch)
        types.learn(batch)
        files |= local
    return batches, files


def find_conflicting(connection, readings: Sequence[Reading]) -> dict[str, tuple[int, str]]:
    """As `versions.find_conflicting`, for readings of one table."""
    files = [File(str(r.path), r.columns, r.types, EVERYWHERE) for r in readings if r.readable]
    return versions.find_conflicting(connection, source_tables()[readings[0].source.table], files) if files else {}


def find_gone(connection, bucket: str, chronicle: Chronicle, r: Reading) -> tuple[int, str]:
    """As `versions.find_gone`, for a source that was read before; what holds the latest days moves on by itself."""
    before = None if r.source.latest else chronicle.newest.get(r.source.name)
    if before is None:
        return 0, ""
    held = {role: f"s3://{bucket}/{key}" for role, key in before.files.items()}
    files = [File(held["rows"], before.columns, before.types, EVERYWHERE)] if "rows" in held else []
    landed = File(str(r.path), r.columns, r.types, EVERYWHERE)
    return versions.find_gone(connection, source_tables()[before.table], landed, files, held.get("sightings"))


def _find_unchanged(connection, bucket: str, chronicle: Chronicle, name: str, mine, places) -> dict[str, int]:
    """File → number of its rows that are unchanged; the rows themselves are in the temp table `unchanged`."""
    before = [batch for batch in chronicle.batches if batch.table == name]

    def files(role: str, batches: Sequence[Batch]) -> list[tuple[Batch, str]]:
        return [(batch, f"s3://{bucket}/{batch.files[role]}") for batch in batches if role in batch.files]

    versions.find_unchanged(
        connection,
        source_tables()[name],
        landed=[File(str(r.path), r.columns, r.types, where) for r, where in zip(mine, places, strict=True)],
        appended=[File(path, batch.columns, batch.types, batch.place) for batch, path in files("rows", before)],
        sighted=[(path, batch.place) for batch, path in files("sightings", _overtaken(before, places))],
        rows_landed=sum(r.readable for r in mine),
    )
    return dict(connection.execute("select file, count(*) from unchanged group by file").fetchall())


def _overtaken(before: Sequence[Batch], places: Sequence[Place]) -> list[Batch]:
    """The batches that stand behind one which arrived later: of all others, sightings tell nothing that rows do not.

    A sighting is identical to what preceded it when it came. So it still is, unless something has come between.

    Parameters
    ----------
    before
        The batches that the history has of a table, in order of arrival.
    places
        Those of the ones that arrive now.
    """
    earliest, found = min(places), []
    for batch in reversed(before):
        if batch.place > earliest:
            found.append(batch)
        if "rows" in batch.files:
            earliest = min(earliest, batch.place)
    return found


class _Types:
    """The types of the columns of a table as they were last: where each source lies, and in its system."""

    def __init__(self, readings: Sequence[Reading], before: Sequence[Batch]) -> None:
        self._origins = {r.source.origin for r in readings}
        self._known: dict[str, dict[str, str]] = {}
        for batch in before:
            self.learn(batch)

    def learn(self, batch: Batch) -> None:
        """Take note of the types of a batch."""
        places = [batch.system, *(origin for origin in self._origins if lies_in(batch.source, origin))]
        for place_or_system in places:
            self._known.setdefault(place_or_system, {}).update(batch.types)

    def changed(self, r: Reading) -> list[str]:
        """Columns whose type is another than where its table lay before; or, for a new place, in its system."""
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
    """A reading as a batch of the history, and its files; what is unchanged in it stands in the table `unchanged`."""
    batch_date = r.date or as_of
    digest = md5(r.content_hash.encode(), usedforsecurity=False).hexdigest()[:8]
    batch_id = f"{r.source.table}-{batch_date:%Y%m%d}-{sequence:05d}-{digest}"
    local, counts = _written(connection, r, unchanged)
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
        sha256={role: _sha256(path) for role, path in local.items()},
        size=sum(path.stat().st_size for path in local.values()),
        with_sightings=with_sightings,
    )
    return batch, {keys[role]: path for role, path in local.items()}


def _written(connection, r: Reading, unchanged: int) -> tuple[Files, dict[str, int]]:
    """Role → file, and role → rows of it: the rows less those that are unchanged, the sightings of these, the rest.

    Rows are counted as they are written, so that the flows are checked and not reckoned; where the file stays as it is,
    they are when raw is loaded.
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
        # Not sorted: a large batch would be spilled to disk for it, and rows carry their numbers.
        "rows": f"select {columns}, {number} as _row_number from read_parquet({file}, file_row_number = true) "
        f"where {number} not in (select row_number from unchanged where file = {file})",
        "sightings": "select key as _key, row_hash as _row_hash, row_number as _row_number from unchanged "
        f"where file = {file} order by row_number",
    }
    if r.landed >= MANY_ROWS and unchanged < FEW * r.readable:
        local["rows"], counts["rows"] = r.path, r.readable - unchanged
        del queries["rows"]
    for role, query in queries.items():
        if role == "sightings" or unchanged < r.readable:
            local[role] = r.path.with_name(f"{role}.parquet")
            (counts[role],) = connection.execute(f"copy ({query}) to {literal(str(local[role]))} {PARQUET}").fetchone()
    return local, counts


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
