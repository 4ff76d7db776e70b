"""Remove the copies of an erased person's data outside the history, and search for any that remain.

The warehouse is rebuilt in a new file, because a database file keeps deleted rows until their space is reused. Earlier
publications are removed, and so are features, which `make science` computes again. E-mails, addresses, phones and names
in the run archive and the server logs are masked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.backends import data_folder, lake, storage, warehouse
from duckbook.errors import ServerError, WarehouseError
from duckbook.files import write_private
from duckbook.ingest import commit_log, erased_people, mentions
from duckbook.ingest.mentions import People
from duckbook.publish import publisher
from duckbook.publish.publication import SCHEMA
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import macro, source_tables
from duckbook.sql import literal, quoted
from duckbook.transform.masking import MASK

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Trace:
    """A place that was searched, and the number of its rows or texts that still name the person."""

    place: str
    searched: str
    found: int


def scrub_archive(runs: Path, people: People) -> int:
    """Mask values that identify people in the files of the run archive; return the number of changed files."""
    changed = 0
    if (pattern := people.pattern()) is None:
        return 0
    for file, text in _texts(runs):
        clean = pattern.sub(MASK, text)
        if clean != text:
            write_private(file, clean.encode("utf-8", errors="surrogateescape"))
            changed += 1
    return changed


def scrub_logs(settings: Settings, people: People) -> None:
    """Mask values that identify people in the server logs, in place because the servers hold them open."""
    if (pattern := people.pattern()) is None:
        return
    for file in (settings.data / "servers").glob("*.log*"):
        text = file.read_text("utf-8", errors="surrogateescape")
        clean = pattern.sub(MASK, text)
        if clean != text:
            with file.open("r+b") as log:
                log.write(clean.encode("utf-8", errors="surrogateescape"))
                log.truncate()


def files_with_ids(settings: Settings, people: People) -> list[Path]:
    """List files of the run archive that mention ``customer_id`` and contain a number equal to one of the ids."""
    ids = sorted(people.ids - mentions.distinctive_ids(people.ids))
    if not ids:
        return []
    number = re.compile(rf"(?<![\w.,-])(?:{'|'.join(map(re.escape, ids))})(?![\w.,-])")
    return [file for file, text in _texts(settings.runs) if "customer_id" in text and number.search(text)]


def _texts(runs: Path) -> Iterator[tuple[Path, str]]:
    """Yield the text files of an archive with their text."""
    for file in sorted(runs.rglob("*")) if runs.exists() else ():
        if file.is_file() and not file.is_symlink() and b"\0" not in (content := file.read_bytes()):
            yield file, content.decode("utf-8", errors="surrogateescape")


def check_warehouse(settings: Settings) -> None:
    """Check that the warehouse file may be deleted.

    Raises
    ------
    WarehouseError
        It was in the data folder before duckbook.
    """
    path, data = settings.warehouse_path, settings.data
    if path.exists() and data_folder.is_data_folder(data) and not data_folder.made_by_duckbook(data, path.name):
        raise WarehouseError(
            f"{path} was there before duckbook, so it is not deleted, and deleted rows would stay in it: copy your own "
            "tables out of it, delete it, and try again."
        )


def discard_warehouse(settings: Settings) -> None:
    """Delete the warehouse file, also if the target is another one. It can be rebuilt from the history."""
    for name in ("", ".wal"):
        settings.warehouse_path.with_name(f"{settings.warehouse_path.name}{name}").unlink(missing_ok=True)


def remove(settings: Settings, endpoints: Endpoints, ids: Sequence[str]) -> None:
    """Remove earlier publications, here and in BI, and features of these people."""
    current = publisher.current(settings)
    for publication in publisher.publications(settings):
        if current is None or publication.run_id != current.run_id:
            publisher.remove(settings, publication.run_id)
    if settings.target == "lake":
        with closing(warehouse.open_warehouse(settings, trusted=True)) as connection:
            pinned = {current.snapshot} if current and current.snapshot is not None else set()
            lake.expire(connection, settings, endpoints.catalog_dsn, pinned, kept_for="0 seconds")
    with warehouse.engine(settings) as engine:
        erased_people.create_people_table(engine, ids)
        for file in _features(settings):
            if _count(engine, f"read_parquet({literal(str(file))})"):
                file.unlink()
    if _is_in_bi(settings, endpoints):
        from duckbook.publish import bi

        bi.publish_bi(settings.model_copy(update={"keep_publications": 1}), endpoints, grace=timedelta(0))


def search(settings: Settings, endpoints: Endpoints, people: People) -> list[Trace]:
    """Search every place except the landing zone, which belongs to its owners. Doubtful records are not counted."""
    with warehouse.engine(settings) as engine:
        warehouse.use_s3(engine, endpoints.s3)
        erased_people.create_people_table(engine, people.ids)
        traces = [_in_history(settings, endpoints, engine, people), _in_warehouse(settings, people)]
        traces.append(_in_publications(settings, engine))
        traces += _in_lake(settings, endpoints, engine)
        traces += _in_bi(settings, endpoints, engine)
        features = _features(settings)
        found = sum(_count(engine, f"read_parquet({literal(str(file))})") for file in features)
        traces.append(Trace("features", f"{len(features)} files", found))
    pattern = people.pattern()
    # One file at a time: an archive may be larger than memory.
    matches = [
        pattern is not None and bool(pattern.search(text) or people.in_text(text, with_names=False))
        for _, text in _texts(settings.runs)
    ]
    return [*traces, Trace("archive of runs", f"{len(matches)} files", sum(matches))]


def _count(connection: duckdb.DuckDBPyConnection, relation: str) -> int:
    """Count the rows of a relation that name one of `people` by id or by surrogate key."""
    names = {name.lower() for name, *_ in connection.execute(f"describe select * from {relation}").fetchall()}
    by_id = [erased_people.names_a_person(quoted(name)) for name in (erased_people.PERSON,) if name in names]
    # Earlier publications have the MD5 of the id as key.
    key = macro("keys.sql", "surrogate_key", ["id"])
    keys = f"select cast({key} as varchar) from people union all select md5(id) from people"
    by_key = [f"customer_key::varchar in ({keys})"] if "customer_key" in names else []
    if not (by_id or by_key):
        return 0
    return connection.execute(f"select count(*) from {relation} where {' or '.join(by_id + by_key)}").fetchall()[0][0]


def _in_history(settings: Settings, endpoints: Endpoints, engine, people: People) -> Trace:
    bucket = settings.s3_historic_bucket
    batches = commit_log.read(storage.client(endpoints.s3), bucket).batches
    is_theirs = erased_people.names_a_person(erased_people.PERSON)
    searched, found = 0, 0
    for name, table in source_tables().items():
        files = {
            role: [f"s3://{bucket}/{b.files[role]}" for b in batches if b.table == name and role in b.files]
            for role in ("rows", "sightings", "unreadable")
        }
        searched += sum(map(len, files.values()))
        found += sum(map(len, erased_people.rows_of_people(engine, files["rows"]).values()))
        mentioned = mentions.in_table(engine, people, table, files["rows"], files["unreadable"], is_theirs)
        found += sum(cell.mention.certain for cell in mentioned)
        if erased_people.is_person_table(table) and files["sightings"]:
            keys = " union all ".join(f"select _key as customer_id from {literal(file)}" for file in files["sightings"])
            found += _count(engine, f"({keys})")
    return Trace("history", f"{searched} files", found)


def _in_warehouse(settings: Settings, people: People) -> Trace:
    with closing(warehouse.open_warehouse(settings, read_only=True)) as connection:
        erased_people.create_people_table(connection, people.ids)
        tables = connection.execute(
            "select schema_name, table_name from duckdb_tables() "
            "where database_name = current_database() and not temporary order by all"
        ).fetchall()
        found = sum(_count(connection, f"{quoted(schema)}.{quoted(name)}") for schema, name in tables)
        found += _count(
            connection, "(select _key as customer_id from ecom_raw.sightings where table_name = 'customers')"
        )
        lines = connection.execute("select original from ecom_raw.unreadable").fetchall()
        found += sum(mention.certain for (text,) in lines if (mention := people.in_line(text)))
        rows = connection.execute("select original from ecom_raw.quarantine").fetchall()
        found += sum(bool(people.ids & set(mentions.named_ids(text))) for (text,) in rows)
    return Trace("warehouse", f"{len(tables)} tables", found)


def _in_publications(settings: Settings, engine) -> Trace:
    if settings.target != "duckdb":
        with publisher.published(settings) as published:
            return _in_views(published, engine)
    files = sorted((settings.data / "published").glob("*/*.parquet"))
    found = sum(_count(engine, f"read_parquet({literal(str(file))})") for file in files)
    return Trace("publications", f"{len(files)} files", found)


def _in_lake(settings: Settings, endpoints: Endpoints, engine) -> list[Trace]:
    """Search the files of all snapshots of the lake, also if the target is another one."""
    bucket, prefix = lake.data_path(settings).removeprefix("s3://").split("/", 1)
    stored = storage.list_objects(storage.client(endpoints.s3), bucket, prefix)
    keys = [item.key for item in stored if item.key.endswith(".parquet")]
    found = sum(_count(engine, f"read_parquet({literal(f's3://{bucket}/{key}')})") for key in keys)
    advice = " (make forget TARGET=lake)" if found and settings.target != "lake" else ""
    return [Trace("lake", f"{len(keys)} files{advice}", found)] if keys or settings.target == "lake" else []


def _in_views(published: publisher.Published, engine) -> Trace:
    people = [name for (name,) in engine.execute("select id from people").fetchall()]
    erased_people.create_people_table(published.connection, people)
    marts = published.publication.marts
    found = sum(_count(published.connection, f"{SCHEMA}.{mart}") for mart in marts)
    return Trace("publications", f"{len(marts)} marts", found)


def _features(settings: Settings) -> list[Path]:
    return sorted((settings.data / "features").rglob("*.parquet"))


def _is_in_bi(settings: Settings, endpoints: Endpoints) -> bool:
    """Whether marts were ever published to BI."""
    from duckbook.publish import bi

    return bool(bi.schemas(settings, endpoints) or _objects(settings, endpoints))


def _objects(settings: Settings, endpoints: Endpoints) -> list[str]:
    try:
        stored = storage.list_objects(storage.client(endpoints.s3), settings.s3_marts_bucket)
    except ServerError:
        return []
    return [item.key for item in stored if item.key.endswith(".parquet")]


def _in_bi(settings: Settings, endpoints: Endpoints, engine) -> list[Trace]:
    from duckbook.publish import bi

    keys, schemas = _objects(settings, endpoints), bi.schemas(settings, endpoints)
    bucket = settings.s3_marts_bucket
    in_s3 = sum(_count(engine, f"read_parquet({literal(f's3://{bucket}/{key}')})") for key in keys)
    traces = [Trace("BI, Parquet in S3", f"{len(keys)} objects", in_s3)]
    found, tables = 0, 0
    if schemas:
        bi.attach(engine, settings, endpoints, as_owner=True)
        names = engine.execute(
            "select database_name || '.' || schema_name || '.' || table_name from duckdb_tables() "
            "where database_name = ? and schema_name in (select unnest(?))",
            [bi.ATTACHED, schemas],
        ).fetchall()
        tables, found = len(names), sum(_count(engine, name) for (name,) in names)
    return [*traces, Trace("BI, Postgres", f"{tables} tables", found)]
