"""Read many tiny objects of a table together, because one statement per object costs more than reading its rows.

Documents and objects with unreadable records, records without a business key or clashing names are left to
`reading.read`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.errors import IngestError
from duckbook.ingest import object_formats, reading, record_schemas
from duckbook.ingest.reading import Reading
from duckbook.ingest.rows import row_hash
from duckbook.ingest.sources import StoredSource
from duckbook.sql import PARQUET, listed, literal, quoted

if TYPE_CHECKING:
    import duckdb
    from mypy_boto3_s3 import S3Client

TINY_BYTES = 16 * 2**10

OBJECTS_PER_PACK = 100

FETCHED_AT_ONCE = 4


def packs(tiny: Mapping[int, StoredSource]) -> list[list[int]]:
    """Group the numbers of tiny objects into packs of one table."""
    groups = []
    for _, group in groupby(sorted(tiny, key=lambda n: (tiny[n].table, n)), key=lambda n: tiny[n].table):
        numbers = list(group)
        groups += [numbers[n : n + OBJECTS_PER_PACK] for n in range(0, len(numbers), OBJECTS_PER_PACK)]
    return groups


def read(
    connection: duckdb.DuckDBPyConnection, client: S3Client, pack: Mapping[int, StoredSource], folder: Path
) -> dict[int, Reading]:
    """Read the objects of a pack that need no special handling, each into files of a folder of its own."""
    import duckdb

    def open_object(number: int) -> object_formats.OpenedObject | None:
        subfolder = folder / str(number)
        subfolder.mkdir()
        try:
            return object_formats.open_object(client, pack[number], subfolder)
        except IngestError:
            return None  # Raised again when the object is read by itself.

    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        opened = dict(zip(pack, pool.map(open_object, pack), strict=True))
    readings: dict[int, Reading] = {}
    for form in ("lines", "array"):
        objects = {number: each for number, each in opened.items() if each and each.format == form}
        if len(objects) > 1:
            try:
                readings |= dict(_read_format(connection, form, objects, pack, folder))
            except (duckdb.Error, IngestError):
                continue  # One is broken: each is read by itself, which raises the error with its name.
    return readings


def _read_format(
    connection: duckdb.DuckDBPyConnection,
    form: str,
    objects: Mapping[int, object_formats.OpenedObject],
    pack: Mapping[int, StoredSource],
    folder: Path,
) -> Iterator[tuple[int, Reading]]:
    """Read objects of one format."""
    numbers = {str(each.local): number for number, each in objects.items()}
    reader = "read_ndjson_objects" if form == "lines" else "read_json_objects"
    option = "ignore_errors = true" if form == "lines" else "format = 'array'"

    def records(files: Iterable[str]) -> str:
        return f"select json, filename as file from {reader}({listed(files)}, filename = true, {option})"

    schemas = record_schemas.find_each(connection, {file: pack[n] for file, n in numbers.items()}, records(numbers))

    def names(file: str) -> list[tuple[str, list[str]]]:
        return [*schemas[file].variants.items()]

    for _, group in groupby(sorted(schemas, key=names), key=names):
        yield from _read_schema(connection, {file: schemas[file] for file in group}, numbers, pack, folder, records)


def _read_schema(
    connection: duckdb.DuckDBPyConnection,
    schemas: Mapping[str, record_schemas.Schema],
    numbers: Mapping[str, int],
    pack: Mapping[int, StoredSource],
    folder: Path,
    records: Callable[[Iterable[str]], str],
) -> Iterator[tuple[int, Reading]]:
    """Read objects whose records have the same names."""
    schema = next(iter(schemas.values()))
    table = pack[numbers[next(iter(schemas))]]
    keyless = reading.without_key(table, schema.columns, ())
    number = f"[{', '.join(str(numbers[file]) for file in schemas)}][list_position({listed(schemas)}, _source)]"
    # These names are reserved for our own bookkeeping, so no column of a source has them.
    connection.execute(
        f"create or replace temp table pack as select *, {number} as _batch_id, "
        f"{row_hash(schema.columns)} as _row_hash, not ({keyless}) as _readable "
        f"from (select file as _source, {', '.join(schema.selected)} from ({records(schemas)}))"
    )
    counted = connection.execute(
        "select _batch_id, any_value(_source), count(*) from pack group by _batch_id having bool_and(_readable)"
    ).fetchall()
    if not counted:
        return
    columns, together = (*schema.columns, "_row_hash"), folder / f"pack-{counted[0][0]}"
    complete = ", ".join(str(number) for number, *_ in counted)
    # One statement for all objects costs a fifth of one per object. The engine has one thread, so rows stay in order
    # and their position is their number.
    connection.execute(
        f"copy (select {', '.join(map(quoted, columns))}, cast(null as varchar) as _key, _batch_id from pack "
        f"where _batch_id in ({complete}) order by rowid) "
        f"to {literal(str(together))} (partition_by (_batch_id), {PARQUET.strip('()')})"
    )
    for number, file, landed in counted:
        (written,) = (together / f"_batch_id={number}").iterdir()
        path = folder / str(number) / "read.parquet"
        written.replace(path)
        Path(file).unlink()
        source, types = pack[number], schemas[file].types
        yield number, Reading(source, source.declared, path, columns, types, landed, landed, None, source.fingerprint)
