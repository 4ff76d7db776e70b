"""A landing zone for tests, filled as another program would fill it: with boto3, psycopg2 and json.

`Shop` is a landing zone with its own history and warehouse, on the servers of the test session.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path

import postgres_servers
from duckbook.backends import storage, warehouse
from duckbook.ingest import history, raw
from duckbook.ingest.history import IngestReport
from duckbook.settings import Endpoints, Settings

AS_OF = date(2026, 6, 30)


def order(order_id: object, status: str = "pending", **further) -> dict:
    """Return an order as a source writes it."""
    return {"order_id": order_id, "customer_id": "c-1", "order_date": "2026-03-01T10:00:00", "status": status} | further


def lines(*records: dict | str) -> bytes:
    """Return newline-delimited JSON; texts are written as they are."""
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records).encode()


class Shop:
    """A landing zone, the history made of it, and a warehouse."""

    def __init__(self, data: Path, endpoints: Endpoints, name: str) -> None:
        self.settings = Settings(
            data=data,
            runs=data / "runs",
            s3_historic_bucket=f"{name}-past",
            s3_latest_bucket=f"{name}-new",
            postgres_schema=name,
            memory_limit="1GB",
            _env_file=None,
        )
        self.endpoints = endpoints
        self.client = storage.client(endpoints.s3)
        for bucket in (self.settings.s3_historic_bucket, self.settings.s3_latest_bucket):
            storage.ensure_bucket(self.client, bucket)

    def clear(self) -> None:
        """Delete everything and create an empty order_items, which is required."""
        for prefix in ("json/", "history/"):
            storage.delete_prefix(self.client, self.settings.s3_historic_bucket, prefix)
        storage.delete_prefix(self.client, self.settings.s3_latest_bucket, "json/")
        self.lose_warehouse()
        schema = self.settings.postgres_schema
        with self.postgres() as connection:
            connection.execute(f"drop schema if exists {schema} cascade")
            connection.execute(f"create schema {schema}")
            connection.execute(f"create table {schema}.order_items (order_id text, order_item_id int, quantity int)")

    def lose_warehouse(self) -> None:
        """Delete the warehouse file."""
        self.settings.warehouse_path.unlink(missing_ok=True)

    def postgres(self) -> AbstractContextManager[postgres_servers.Connection]:
        """Connect to the landing Postgres."""
        return postgres_servers.connect(self.endpoints.postgres_dsn)

    def land(self, key: str, body: bytes, *, latest: bool = False) -> str:
        """Land an object below ``json/`` and return its address."""
        bucket = self.settings.s3_latest_bucket if latest else self.settings.s3_historic_bucket
        self.client.put_object(Bucket=bucket, Key=f"json/{key}", Body=body)
        return f"s3://{bucket}/json/{key}"

    def take_away(self, key: str) -> None:
        """Delete an object below ``json/``."""
        self.client.delete_object(Bucket=self.settings.s3_historic_bucket, Key=f"json/{key}")

    def land_table(self, name: str, columns: str, rows: Iterable[tuple], on: str | None = None) -> None:
        """Replace a Postgres table in one transaction, with the date of the batch in its comment."""
        table, rows = f"{self.settings.postgres_schema}.{name}", list(rows)
        with self.postgres() as connection, connection.cursor() as cursor:
            cursor.execute(f"drop table if exists {table} cascade")
            cursor.execute(f"create table {table} ({columns})")
            if rows:
                cursor.executemany(f"insert into {table} values ({', '.join(['%s'] * len(rows[0]))})", rows)
            if on:
                cursor.execute(f"""comment on table {table} is '{{"date": "{on}"}}'""")

    def ingest(self, as_of: date | None = AS_OF) -> IngestReport:
        """Ingest, load raw and check the row counts."""
        report = history.ingest(self.settings, self.endpoints, as_of)
        raw.load(self.settings, self.endpoints)
        self.check_row_counts()
        return report

    def check_row_counts(self) -> None:
        """Check that landed = appended + unchanged + unreadable per batch, and that raw holds these rows."""
        unbalanced = " union all ".join(
            f"""
            select '{name}' as table_name from ecom_raw.batches where table_name = '{name}'
            having count(*) filter (where landed != appended + unchanged + unreadable) > 0
            or coalesce(sum(appended), 0) != (select count(*) from ecom_raw.{name})
            or coalesce(sum(unchanged), 0) != (select count(*) from ecom_raw.sightings where table_name = '{name}')
            or exists (
                select 1 from ecom_raw.{name} as row
                full join (from ecom_raw.batches where table_name = '{name}' and appended > 0) as batch
                    on row._batch_id = batch.batch_id
                group by row._batch_id, row._source, row._loaded_at, batch.source, batch.as_of, batch.appended
                having row._source is distinct from batch.source or count(*) != batch.appended
                or row._loaded_at is distinct from cast(batch.as_of as timestamp)
            )
            or coalesce(sum(unreadable), 0) != (select count(*) from ecom_raw.unreadable where table_name = '{name}')
            """
            for name in raw.source_tables()
        )
        assert self.query(unbalanced) == []

    def query(self, sql: str) -> list[dict]:
        """Return the rows of a query on the warehouse."""
        with warehouse.open_warehouse(self.settings, read_only=True) as connection:
            result = connection.execute(sql)
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def raw(self, table: str = "orders") -> list[dict]:
        """Return the rows of a raw table in source order, without nulls."""
        rows = self.query(f"""
            select rows.* from ecom_raw.{table} as rows
            inner join ecom_raw.batches on rows._batch_id = batches.batch_id
            order by batch_date, declared desc, case when declared then batches.source end, sequence, _row_number
        """)
        return [{name: value for name, value in row.items() if value is not None} for row in rows]

    def newest(self, table: str = "orders") -> dict[str, dict]:
        """Return key → newest content by the place of its batch, with unchanged rows, as staging should find it."""
        rows = self.query(f"""
            with places as (
                select batch_id, row_number() over (
                    order by batch_date, declared desc, case when declared then source end, sequence
                ) as place
                from ecom_raw.batches where table_name = '{table}'
            ),
            landed as (
                select _key, _row_hash, _batch_id, _row_number from ecom_raw.{table}
                union all
                select _key, _row_hash, _batch_id, _row_number from ecom_raw.sightings where table_name = '{table}'
            ),
            newest as (
                select _key, arg_max(_row_hash, (place, _row_number)) as _row_hash
                from landed inner join places on landed._batch_id = places.batch_id
                group by _key
            )
            select distinct on (rows._key) rows.* from ecom_raw.{table} as rows
            inner join newest on rows._key = newest._key and rows._row_hash = newest._row_hash
        """)
        return {row["_key"]: content(row) for row in rows}

    def dump(self) -> dict[str, list]:
        """Return raw as table → rows in a fixed order."""
        with warehouse.open_warehouse(self.settings, read_only=True) as connection:
            names = connection.execute(
                "select table_name from duckdb_tables() where schema_name = 'ecom_raw' and table_name != 'commits'"
            ).fetchall()
            dumped = {}
            for (name,) in names:
                relation = connection.execute(f"select * from ecom_raw.{name} order by all")
                columns = [column[0] for column in relation.description]
                dumped[name] = [sorted(zip(columns, map(str, row), strict=True)) for row in relation.fetchall()]
            return dumped

    def history_keys(self) -> list[str]:
        """Return the keys of the history's objects."""
        return [
            stored.key for stored in storage.list_objects(self.client, self.settings.s3_historic_bucket, "history/")
        ]


def content(row: dict) -> dict:
    """Return a row of raw without nulls and without the columns that ingestion adds."""
    return {name: value for name, value in row.items() if value is not None and not name.startswith("_")}
