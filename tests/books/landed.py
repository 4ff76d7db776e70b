"""The landing zone, copied batch by batch: objects of S3 by boto3, tables of Postgres by psycopg2.

What docs/landing.md says of formats and dates is all that is known here. A table of Postgres is replaced by the next
landing, so `Ledger.take` is called before each ingest, and keeps what it found.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, field
from datetime import date

import postgres_servers
from duckbook.backends import storage

TABLES = (
    "customers", "products", "orders", "reviews", "categories", "subcategories", "order_items", "interactions",
)  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """One object of S3, or one table of Postgres, as it was at one moment.

    Attributes
    ----------
    place
        Its place in time: its date, then its source, then its arrival. Where it declares no date, the as-of date of
        its arrival counts, after what is dated.
    rows
        Records: column → text as it came.
    unreadable
        How many of its lines are no JSON object.
    """

    table: str
    source: str
    day: date
    place: tuple
    rows: list[dict[str, str]]
    unreadable: int = 0


@dataclass
class Ledger:
    """All batches that landed, in the order of their arrival."""

    batches: list[Batch] = field(default_factory=list)
    _held: dict[str, object] = field(default_factory=dict)

    def take(self, settings, endpoints, as_of: date) -> None:
        """Copy what is new in the landing zone, or has changed, as a later batch of its source."""
        for table, source, declared, rows, unreadable in _everything(settings, endpoints):
            content = (declared, [sorted(row.items()) for row in rows], unreadable)
            if self._held.get(source) == content:
                continue
            self._held[source] = content
            arrival = len(self.batches)
            place = (declared or as_of, declared is None, source if declared else "", arrival)
            self.batches.append(Batch(table, source, declared or as_of, place, rows, unreadable))

    def of(self, table: str) -> list[Batch]:
        """The batches of a table."""
        return [batch for batch in self.batches if batch.table == table]


def _everything(settings, endpoints):
    """(table, source, declared date, rows, unreadable lines) of all that the landing zone holds now."""
    client = storage.client(endpoints.s3)
    for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="json/"):
            for found in sorted(page.get("Contents", []), key=lambda one: one["Key"]):
                key = found["Key"]
                table = re.split(r"[/.]", key.removeprefix("json/"))[0]
                if table in TABLES:
                    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
                    yield table, f"s3://{bucket}/{key}", *_records(key, body)
    with postgres_servers.connect(endpoints.postgres_dsn) as postgres:
        for prefix in ("", "latest_"):
            for table in TABLES:
                relation = f"{settings.postgres_schema}.{prefix}{table}"
                if postgres.execute("select to_regclass(%s)", [relation]).fetchone()[0]:
                    yield table, f"postgres:{relation}", *_table(postgres, relation)


def _records(key: str, body: bytes) -> tuple[date | None, list[dict[str, str]], int]:
    """The date, records and broken lines of an object: one document, one array, or JSON lines, gzipped or not."""
    text = (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode()
    dated = re.search(r"\d{4}-\d\d-\d\d", key)
    declared = date.fromisoformat(dated[0]) if dated else None
    try:
        whole = _loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("data"), list):
        told = (whole.get("metadata") or {}).get("date")
        return date.fromisoformat(told) if told else declared, [_row(one) for one in whole["data"]], 0
    if isinstance(whole, list):
        return declared, [_row(one) for one in whole], 0
    rows, broken = [], 0
    for line in filter(str.strip, text.split("\n")):
        try:
            rows.append(_row(_loads(line)))
        except ValueError:
            broken += 1
    return declared, rows, broken


def _loads(text: str):
    """Parse JSON with every number left as the text that it is."""

    def refuse(constant: str):
        raise ValueError(constant)

    return json.loads(text, parse_float=_Number, parse_int=_Number, parse_constant=refuse)


class _Number(str):
    """A number as it is written."""


def _row(record) -> dict[str, str]:
    """A record as texts, without what is null; a column's name knows no case and no blanks around it."""
    if not isinstance(record, dict):
        raise ValueError("no object")
    row = {}
    for name, value in record.items():
        column = name.strip(" ").lower()
        if column in row:
            raise ValueError("two columns of one name")
        row[column] = {True: "true", False: "false"}[value] if isinstance(value, bool) else value
    return {name: value for name, value in row.items() if value is not None}


def _table(postgres: postgres_servers.Connection, relation: str) -> tuple[date | None, list[dict[str, str]], int]:
    """The date, rows and broken lines (none) of a table of Postgres, in the order in which it holds them."""
    (comment,) = postgres.execute("select obj_description(%s::regclass)", [relation]).fetchone()
    told = re.search(r'"date": *"(\d{4}-\d\d-\d\d)"', comment or "")
    columns = [column.name for column in postgres.execute(f"select * from {relation} limit 0").description]
    asked = ", ".join(f'"{column}"::text' for column in columns)
    rows = [
        {column.lower(): value for column, value in zip(columns, found, strict=True) if value is not None}
        for found in postgres.execute(f"select {asked} from {relation}").fetchall()
    ]
    return date.fromisoformat(told[1]) if told else None, rows, 0
