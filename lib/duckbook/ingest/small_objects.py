"""Many tiny objects of a table, read together: a statement for each would cost more than its rows.

What is not plain is left to be read by itself: documents, and objects with a record that cannot be read, that has no
key of its own, or whose names want a second look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

TINY_BYTES = 16 * 2**10

MOST = 100
"""So many objects make a pack."""

FETCHED_AT_ONCE = 4


def of(tiny: Mapping[int, StoredSource]) -> list[list[int]]:
    """The numbers of tiny objects, put together to packs of one table."""
    packs = []
    for _, group in groupby(sorted(tiny, key=lambda n: (tiny[n].table, n)), key=lambda n: tiny[n].table):
        mine = list(group)
        packs += [mine[n : n + MOST] for n in range(0, len(mine), MOST)]
    return packs


def read(
    connection: duckdb.DuckDBPyConnection, client, pack: Mapping[int, StoredSource], folder: Path
) -> dict[int, Reading]:
    """Read the objects of a pack that are plain, as `reading.read` would, into files of folders of their own."""
    import duckdb

    def opened(number: int) -> object_formats.Opened | None:
        mine = folder / str(number)
        mine.mkdir()
        try:
            return object_formats.opened(client, pack[number], mine)
        except IngestError:
            return None  # It is told when the object is read by itself.

    with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
        found = dict(zip(pack, pool.map(opened, pack), strict=True))
    done: dict[int, Reading] = {}
    for form in ("lines", "array"):
        mine = {number: one for number, one in found.items() if one and one.format == form}
        if len(mine) > 1:
            try:
                done |= dict(_read_alike(connection, form, mine, pack, folder))
            except (duckdb.Error, IngestError):
                continue  # One of them is broken: each is read by itself, and the one is told.
    return done


def _read_alike(connection, form: str, mine, pack, folder: Path) -> Iterator[tuple[int, Reading]]:
    """Read objects of one format."""
    numbers = {str(one.local): number for number, one in mine.items()}
    reader = "read_ndjson_objects" if form == "lines" else "read_json_objects"
    option = "ignore_errors = true" if form == "lines" else "format = 'array'"

    def records(files) -> str:
        return f"select json, filename as file from {reader}({listed(files)}, filename = true, {option})"

    found = record_schemas.find_each(connection, {file: pack[n] for file, n in numbers.items()}, records(numbers))

    def told(file: str) -> list:
        return [*found[file].variants.items()]

    for _, group in groupby(sorted(found, key=told), key=told):
        yield from _read_of_one_shape(connection, {file: found[file] for file in group}, numbers, pack, folder, records)


def _read_of_one_shape(connection, alike, numbers, pack, folder: Path, records) -> Iterator[tuple[int, Reading]]:
    shape = next(iter(alike.values()))
    table = pack[numbers[next(iter(alike))]]
    keyless = reading.without_key(table, shape.columns, ())
    places = f"[{', '.join(str(numbers[file]) for file in alike)}][list_position({listed(alike)}, _source)]"
    # Names of our own bookkeeping: no column of a source is called so.
    connection.execute(
        f"create or replace temp table pack as select *, {places} as _batch_id, "
        f"{row_hash(shape.columns)} as _row_hash, not ({keyless}) as _readable "
        f"from (select file as _source, {', '.join(shape.selected)} from ({records(alike)}))"
    )
    counted = connection.execute(
        "select _batch_id, any_value(_source), count(*) from pack group by _batch_id having bool_and(_readable)"
    ).fetchall()
    if not counted:
        return
    columns, together = (*shape.columns, "_row_hash"), folder / f"pack-{counted[0][0]}"
    sound = ", ".join(str(number) for number, *_ in counted)
    # One statement for all of them costs a fifth of one for each. By one thread, and so in the order of each object:
    # the place of a row in the file is its number.
    connection.execute(
        f"copy (select {', '.join(map(quoted, columns))}, cast(null as varchar) as _key, _batch_id from pack "
        f"where _batch_id in ({sound}) order by rowid) "
        f"to {literal(str(together))} (partition_by (_batch_id), {PARQUET.strip('()')})"
    )
    for number, file, landed in counted:
        (written,) = (together / f"_batch_id={number}").iterdir()
        path = folder / str(number) / "read.parquet"
        written.replace(path)
        Path(file).unlink()
        source, types = pack[number], alike[file].types
        yield number, Reading(source, source.declared, path, columns, types, landed, landed, None, source.fingerprint)
