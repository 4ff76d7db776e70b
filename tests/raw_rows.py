"""Raw rows for tests of the dbt project, as ingestion would write a user's batches to ecom_raw.

Batches are lists of dicts. Like ingestion, `Raw.land` compares a row with the version of its key and update time that
precedes it in source order: an equal row is unchanged, any other is appended. Fixtures filter rows, never columns.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date

import duckdb
from duckbook.ingest import raw
from duckbook.source_tables import source_tables


class Raw:
    """A warehouse's raw layer, filled batch by batch."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, as_of: date = date(2026, 6, 30)) -> None:
        self.connection = connection
        self.arrivals = 0
        self._keys: dict[str, set[str]] = {}
        raw.create(connection)
        connection.execute("insert into ecom_raw.as_of values (?)", [as_of])

    def land(self, table: str, rows: list[dict], on: date = date(2026, 6, 30), system: str = "s3") -> str:
        """Land rows as one batch and return its id."""
        self.arrivals += 1
        batch_id = f"{table}-{on}-{self.arrivals}"
        batch = (batch_id, table, system, f"json/{table}/{on}", on, self.arrivals, batch_id, on)
        self._insert("batches", [(*batch, len(rows), 0, 0, 0, "{}", True, 0, 0)])
        appended = unchanged = 0
        for number, row in enumerate(rows, start=1):
            key, content = _key(table, row), _hash(row)
            if self._has(table, key) and self._precedes(table, key, row, on) == content:
                self._insert("sightings", [(table, key, content, batch_id, number)])
                unchanged += 1
                continue
            names = source_tables()[table].column_names
            values = [None if row.get(name) is None else str(row[name]) for name in names]
            values += [key, batch_id, number, content, f"json/{table}/{on}", None]
            self._insert(table, [values])
            self._keys[table].add(key)
            appended += 1
        self.connection.execute(
            "update ecom_raw.batches set appended = ?, unchanged = ? where batch_id = ?",
            [appended, unchanged, batch_id],
        )
        return batch_id

    def unreadable(self, table: str, line: str) -> None:
        """Insert an unreadable line."""
        self._insert("unreadable", [(table, "unreadable-1", "json", 1, "not JSON", line)])

    def _has(self, table: str, key: str | None) -> bool:
        """Whether a row with this key has landed; keys are cached, because most are new."""
        if table not in self._keys:
            keys = self.connection.execute(f"select distinct _key from ecom_raw.{table}").fetchall()
            self._keys[table] = {known for (known,) in keys}
        return key is not None and key in self._keys[table]

    def _precedes(self, table: str, key: str, row: dict, on: date) -> int | None:
        """Return the hash of the last version of the key with the row's update time, up to the day."""
        time = source_tables()[table].update_time
        same_time = (
            f"try_cast({time} as timestamptz) is not distinct from try_cast($time as timestamptz)"
            if time
            else "$time is null"
        )
        version = self.connection.execute(
            f"""
            with versions as (
                select _row_hash, _batch_id, _row_number from ecom_raw.{table} where _key = $key and {same_time}
            )
            select _row_hash from (
                from versions
                union all
                select _row_hash, _batch_id, _row_number from ecom_raw.sightings
                where table_name = $table and _key = $key and _row_hash in (select _row_hash from versions)
            ) as landed
            inner join ecom_raw.batches on landed._batch_id = batches.batch_id
            where batches.batch_date <= $on
            order by batches.batch_date desc, batches.sequence desc, landed._row_number desc
            limit 1
            """,
            {"key": key, "table": table, "on": on, "time": row.get(time) if time else None},
        ).fetchone()
        return version[0] if version else None

    def _insert(self, table: str, rows: list) -> None:
        marks = ", ".join("?" * len(rows[0]))
        self.connection.executemany(f"insert into ecom_raw.{table} values ({marks})", rows)


def _key(table: str, row: dict) -> str | None:
    parts = [row.get(name) for name in source_tables()[table].key]
    if table == "reviews" and parts == [None]:
        return f"{_digest(row)}#1"
    if any(part is None or not str(part).strip() for part in parts):
        return None
    return "|".join(str(part).strip().removesuffix(".0") for part in parts)


def _hash(row: dict) -> int:
    return int(_digest(row)[:15], 16)


def _digest(row: dict) -> str:
    text = json.dumps({name: str(value) for name, value in row.items() if value is not None}, sort_keys=True)
    return hashlib.md5(text.encode()).hexdigest()
