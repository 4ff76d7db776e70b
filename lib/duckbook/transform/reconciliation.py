"""Read the row counts per source table and the reconciled measures of the marts from the warehouse.

dbt computes both, in ``row_accounts`` and ``reconciliation``, and fails if they do not add up. This module only reads
them, for the notebooks and the archive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

TABLES = """
    with flows as (
        select
            table_name,
            cast(sum(landed) as bigint) as landed,
            cast(sum(appended) as bigint) as appended,
            cast(sum(unchanged) as bigint) as unchanged,
            cast(sum(unreadable) as bigint) as unreadable
        from ecom_staging.stg_batches
        where case when $batches is null then as_of = (select max(as_of) from ecom_raw.as_of)
            else list_contains($batches, batch_id) end
        group by table_name
    )
    select
        accounts.table_name as "table",
        coalesce(flows.landed, 0) as landed,
        coalesce(flows.appended, 0) as appended,
        coalesce(flows.unchanged, 0) as unchanged,
        coalesce(flows.unreadable, 0) as unreadable,
        accounts.raw,
        accounts.staged,
        accounts.superseded,
        accounts.quarantined
    from ecom_staging.row_accounts as accounts
    left join flows on accounts.table_name = flows.table_name
    order by accounts.table_name
"""

MARTS = """
    select mart, measure, mart_total, staging_total, equal
    from ecom_marts.reconciliation
    order by mart, measure
"""


def tables(connection: duckdb.DuckDBPyConnection, batches: Iterable[str] | None = None) -> list[dict]:
    """Row counts per source table: what an ingest did, and the totals after it.

    Parameters
    ----------
    connection
        A warehouse whose staging is built.
    batches
        Ids of the batches to count as flows; None: the batches ingested at the as-of date.

    Returns
    -------
    list of dict
        One per source table: table; landed = appended + unchanged + unreadable (flows);
        raw = staged + superseded + quarantined (stocks, without unreadable lines).
    """
    return _records(connection, TABLES, {"batches": None if batches is None else list(batches)})


def marts(connection: duckdb.DuckDBPyConnection) -> list[dict]:
    """The total of each additive measure of each fact mart, next to the same total from staging.

    Parameters
    ----------
    connection
        A warehouse whose marts are built.

    Returns
    -------
    list of dict
        One per mart and measure: mart, measure, mart_total, staging_total (Decimal; money in USD), equal.
    """
    return _records(connection, MARTS, {})


def differences(rows: Iterable[dict], most: int = 5) -> str:
    """Describe the totals that differ, the first `most` with mart, measure and both totals; empty if none does."""
    differing = [row for row in rows if not row["equal"]]
    described = []
    for row in differing[:most]:
        mart, staging = _format_alike(row["mart_total"], row["staging_total"])
        described.append(f"{row['mart']}.{row['measure']} is {mart} in the mart and {staging} in staging")
    more = len(differing) - most
    return "; ".join([*described, *([f"{more} more totals differ"] if more > 0 else [])])


def _format_alike(*totals: Any) -> list[str]:
    """Format totals with thousands separators, and all of them with cents if any has some."""
    places = 0 if all(total is None or total == int(total) for total in totals) else 2
    return ["nothing" if total is None else f"{total:,.{places}f}" for total in totals]


def _records(connection: duckdb.DuckDBPyConnection, query: str, parameters: dict) -> list[dict]:
    result = connection.cursor().execute(query, parameters)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
