"""The raw layer of a warehouse: rows as the sources gave them, and the bookkeeping of their batches.

Raw is a copy of what the history in S3 has committed. It can be dropped and made again at any time, and nothing
else writes to it but the quarantine model of dbt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from duckbook.tables import source_tables

if TYPE_CHECKING:
    import duckdb

SCHEMA = "ecom_raw"

ROW_COLUMNS = {
    "_key": "varchar",
    "_batch_id": "varchar",
    "_row_number": "bigint",
    "_row_hash": "ubigint",
    "_source": "varchar",
    "_loaded_at": "timestamp",
}
"""What ingestion adds to every row, and the types of it."""

BOOKKEEPING = {
    "sightings": {
        "table_name": "varchar",
        "_key": "varchar",
        "_row_hash": "ubigint",
        "_batch_id": "varchar",
        "_row_number": "bigint",
    },
    "batches": {
        "batch_id": "varchar",
        "table_name": "varchar",
        "system": "varchar",
        "source": "varchar",
        "batch_date": "date",
        "sequence": "bigint",
        "content_hash": "varchar",
        "as_of": "date",
        "landed": "bigint",
        "appended": "bigint",
        "unchanged": "bigint",
        "unreadable": "bigint",
        "drift": "varchar",
    },
    "unreadable": {
        "table_name": "varchar",
        "batch_id": "varchar",
        "source": "varchar",
        "row_number": "bigint",
        "reason": "varchar",
        "original": "varchar",
    },
    "as_of": {"as_of": "date"},
    "commits": {"number": "bigint"},
}
"""The tables beside the source tables: name → column → type."""


def create(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the schema and its empty tables, where they do not exist yet.

    Parameters
    ----------
    connection
        A warehouse, open for writing.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    for name, table in source_tables().items():
        columns = dict.fromkeys(table.column_names, "varchar") | ROW_COLUMNS
        connection.execute(_create_table(name, columns))
    for name, columns in BOOKKEEPING.items():
        connection.execute(_create_table(name, columns))


def _create_table(name: str, columns: dict[str, str]) -> str:
    listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    return f"create table if not exists {SCHEMA}.{name} ({listed})"
