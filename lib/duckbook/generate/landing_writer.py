"""Write Arrow tables to the landing zone: JSON lines in S3, and Postgres tables by COPY.

DuckDB converts Arrow to JSON and to Postgres' COPY; boto3 uploads. The next piece is generated while this one is
written.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from itertools import chain, product
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from duckbook.backends import storage, warehouse
from duckbook.generate.shop import dirt
from duckbook.generate.shop.records import dirt_keys
from duckbook.generate.shop.simulation import Shop
from duckbook.generate.shop.truth import truth
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import source_tables
from duckbook.sql import literal

UPLOADS = 4
"""Concurrent uploads."""

_AS_JSON = "(format json, timestampformat '%Y-%m-%dT%H:%M:%S')"


class Writer:
    """Context manager for one load, which waits for its uploads and closes its connection."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self._settings = settings
        self._s3 = storage.client(endpoints.s3)
        self._connection = warehouse.engine(settings, trusted=True)
        # The lines of an object keep the order of the records, whatever the number of threads.
        self._connection.execute("set preserve_insertion_order = true")
        warehouse.use_landing(self._connection, endpoints, read_only=False)
        _remove_leftovers(settings.data / "tmp")
        self._folder = tempfile.TemporaryDirectory(dir=settings.data / "tmp", prefix=f"landing-{os.getpid()}-")
        self._uploads = ThreadPoolExecutor(UPLOADS)
        self._prefetcher = ThreadPoolExecutor(1)
        self._pending: list[Future] = []
        self._landed: list[dict] = []
        self._dirt: dict[tuple[str, str], Counter] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error) -> None:
        self._uploads.shutdown(wait=True, cancel_futures=error[0] is not None)
        self._prefetcher.shutdown(wait=True, cancel_futures=True)
        self._connection.close()
        self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """Folder for temporary files, deleted with the writer."""
        return Path(self._folder.name)

    def landed(self) -> list[dict]:
        """Wait for the uploads and list what has landed, S3 first, by date and table."""
        for upload in self._pending:
            upload.result()
        self._pending.clear()
        order = list(source_tables())
        return sorted(self._landed, key=lambda row: (row["system"] != "s3", row["date"], order.index(row["table"])))

    def delete_objects(self, bucket: str, tables: Iterable[str], days: Iterable[date]) -> None:
        """Delete the objects of a load, and no others next to them."""
        for table, day in product(tables, days):
            storage.delete(self._s3, bucket, object_key(table, day))

    def list_existing(self) -> list[str]:
        """List the source tables in the landing zone, whoever landed them: one object per bucket, all of Postgres."""
        settings = self._settings
        existing = [
            f"s3://{bucket}/{next(iter(objects)).key}"
            for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket)
            if (objects := storage.list_objects(self._s3, bucket, "json/"))
        ]
        schema = settings.postgres_schema
        ours = ", ".join(literal(f"{prefix}{name}") for name in source_tables() for prefix in ("", "latest_"))
        condition = f"schemaname = {literal(schema)} and tablename in ({ours})"
        listed = f"select tablename from pg_tables where {condition} order by 1"
        query = "select * from postgres_query(?, ?)"
        rows = self._connection.execute(query, [warehouse.LANDING_DATABASE, listed]).fetchall()
        return existing + [f"Postgres table {schema}.{name}" for (name,) in rows]

    def put_object(self, shop: Shop, bucket: str, table: str, day: date, pieces: Iterator[pa.Table]) -> None:
        """Land records as one object of JSON lines, with the dirty lines last."""
        key = object_key(table, day)
        where = f"s3://{bucket}/{key}"
        path = self.folder / f"{table}-{day}.ndjson"
        number, soiled = 0, []
        counts: Counter[str] = Counter()
        with path.open("wb") as file:
            for records in pieces:
                keys = dirt_keys(table, records)
                clean, lines, kinds = shop.dirt.soil_lines(table, records, keys, self._json_lines)
                with self._write_json(clean, "piece.ndjson").open("rb") as piece:
                    shutil.copyfileobj(piece, file)
                soiled += lines
                number += len(clean) + len(lines)
                counts += kinds
            file.writelines(f"{line}\n".encode() for line in soiled)
        self._record(table, "s3", where, day, number, counts)
        self._submit(path, bucket, key)

    def put_table(self, shop: Shop, prefix: str, table: str, day: date, pieces: Iterator[pa.Table]) -> None:
        """Land records as a Postgres table that replaces the previous one in one transaction."""
        schema, name = self._settings.postgres_schema, f"{prefix}{table}"
        number = 0
        counts: Counter[str] = Counter()
        # A separate connection, because another thread exports to S3 at the same time.
        with self._connection.cursor() as postgres:
            postgres.execute("begin transaction")
            for records in self._prefetch(pieces):
                rows, soiled = self._soil_rows(shop, table, records)
                if not number:
                    self._create(postgres, schema, f"{name}__new", rows)
                postgres.execute(f"insert into {warehouse.LANDING_DATABASE}.{schema}.{name}__new select * from rows")
                number += len(rows)
                counts += soiled
            self._swap(postgres, schema, name, day)
            postgres.execute("commit")
        self._record(table, "postgres", f"{schema}.{name}", day, number, counts)

    def put_truth(self, shop: Shop) -> None:
        """Write the truth tables next to the data."""
        for name, pieces in truth(shop).items():
            path = self.folder / f"{name}.parquet"
            first = next(pieces)
            with pq.ParquetWriter(path, first.schema, compression="zstd") as file:
                for piece in chain((first,), pieces):
                    file.write_table(piece)
            self._submit(path, self._settings.s3_historic_bucket, f"truth/{name}.parquet")

    def put_dirt(self, day: date) -> None:
        """Write the dirt counts of this landing next to the truth."""
        data = json.dumps(dirt.count_records(self._dirt), indent=1).encode()
        storage.put_bytes(self._s3, self._settings.s3_historic_bucket, f"truth/dirt_{day}.json", data)

    def _submit(self, path: Path, bucket: str, key: str) -> None:
        self._pending.append(self._uploads.submit(self._upload, path, bucket, key))

    def _upload(self, path: Path, bucket: str, key: str) -> None:
        storage.upload(self._s3, path, bucket, key)
        path.unlink()

    def _write_json(self, records: pa.Table, name: str) -> Path:
        path = self.folder / name
        self._connection.execute(f"copy (select * from records) to {literal(str(path))} {_AS_JSON}")
        return path

    def _json_lines(self, records: pa.Table) -> list[str]:
        path = self._write_json(records, "soiled.ndjson")
        return path.read_text("utf-8").splitlines()

    def _prefetch(self, pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Yield the pieces, making each while the previous one is written."""
        pending = self._prefetcher.submit(next, pieces, None)
        while (piece := pending.result()) is not None:
            pending = self._prefetcher.submit(next, pieces, None)
            yield piece

    def _soil_rows(self, shop: Shop, table: str, records: pa.Table) -> tuple[pa.Table, Counter]:
        if table not in dirt.KINDS:
            return records, Counter()
        return shop.dirt.soil_rows(table, records, dirt_keys(table, records))

    def _create(self, postgres: DuckDBPyConnection, schema: str, name: str, rows: pa.Table) -> None:
        postgres.execute(f"drop table if exists {warehouse.LANDING_DATABASE}.{schema}.{name}")
        postgres.execute(f"create table {warehouse.LANDING_DATABASE}.{schema}.{name} as select * from rows limit 0")

    def _swap(self, postgres: DuckDBPyConnection, schema: str, name: str, day: date) -> None:
        declared = json.dumps({"date": day.isoformat()})
        statements = (
            f"drop table if exists {schema}.{name}",
            f"alter table {schema}.{name}__new rename to {name}",
            f"comment on table {schema}.{name} is {literal(declared)}",
        )
        for statement in statements:
            postgres.execute("call postgres_execute(?, ?)", [warehouse.LANDING_DATABASE, statement])

    def _record(self, table: str, system: str, where: str, day: date, rows: int, counts: Counter) -> None:
        self._landed.append({"table": table, "system": system, "where": where, "date": day.isoformat(), "rows": rows})
        if counts:
            self._dirt[table, where] = counts


def object_key(table: str, day: date) -> str:
    """S3 key of a generated object."""
    return f"json/{table}/date={day}/{table}.ndjson"


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary folders of killed loads, which may hold gigabytes."""
    for leftover in folder.glob("landing-*-*"):
        pid = leftover.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)
