"""Totals of the new sources of a landing zone. The shop's owner knows them, so they reveal a wrong export.

Only the record of each key that staging would take is counted: the newest one that can be cast. Cancelled orders count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from duckbook.ingest.batches import Batch
from duckbook.ingest.reading import Reading
from duckbook.ingest.rows import key, normalised, row_number
from duckbook.settings import Settings
from duckbook.source_tables import source_tables
from duckbook.sql import literal, quoted
from duckbook.transform.rejections import rejection, typed

if TYPE_CHECKING:
    import duckdb

COLUMNS = {
    "orders": ("order_date", "total_amount", "currency"),
    "order_items": ("order_id", "quantity", "unit_price", "total_price"),
}

TOTALS = """
with

orders as ({orders}),

order_items as ({order_items}),

sold as (

    select
        orders.currency,
        count(*) as lines,
        sum(order_items.quantity) as units,
        sum(
            coalesce(order_items.total_price, (order_items.quantity::bigint * order_items.unit_price)::decimal(38, 2))
        ) as items_amount
    from order_items
    left join orders on order_items.order_id = orders.key
    group by orders.currency

),

ordered as (

    select
        currency,
        count(*) as orders,
        sum(total_amount) as orders_amount,
        min(order_date)::date as first_day,
        max(order_date)::date as last_day
    from orders
    group by currency

)

select
    coalesce(ordered.currency, sold.currency, '') as currency,
    coalesce(ordered.orders, 0) as orders,
    coalesce(sold.lines, 0) as lines,
    coalesce(sold.units, 0)::bigint as units,
    round(sold.items_amount, 2) as items_amount,
    ordered.orders_amount,
    ordered.first_day,
    ordered.last_day
from ordered
full join sold on ordered.currency is not distinct from sold.currency
order by 1
"""


def totals(
    connection: duckdb.DuckDBPyConnection, read: Sequence[tuple[Batch, Reading]], settings: Settings
) -> list[dict]:
    """Compute orders, lines, units, amounts, first and last day per currency.

    Parameters
    ----------
    read
        Readings, each with the batch that an ingest would make of it.

    Returns
    -------
    list of dict
        currency (empty if no record names one), orders, lines, units, items_amount, orders_amount, first_day,
        last_day. Empty if neither orders nor order items were read.
    """
    by_table = {name: [(b, r) for b, r in read if b.table == name and r.readable] for name in COLUMNS}
    if not any(by_table.values()):
        return []
    queries = {name: _newest(name, table_read, settings) for name, table_read in by_table.items()}
    result = connection.execute(TOTALS.format(**queries))
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _newest(name: str, read: Sequence[tuple[Batch, Reading]], settings: Settings) -> str:
    """Return a query for the newest valid record of each key of a table."""
    table, columns = source_tables()[name], COLUMNS[name]
    if not read:
        return f"select {', '.join(f'null as {column}' for column in ('key', *columns))} where false"
    selects = []
    for place, (batch, r) in enumerate(sorted(read, key=lambda pair: pair[0].place)):
        # Items find their order by the normalised key, not by the typed column.
        values = {c: typed(table, r.columns, c) for c in columns}
        if "order_id" in values and "order_id" in r.columns:
            values["order_id"] = normalised(quoted("order_id"))
        # A version without an update time counts as of the end of its batch's day.
        updated = typed(table, r.columns, table.update_time) if table.update_time else "null"
        selects.append(
            f"select {key(table, r.columns)} as key, {', '.join(f'{value} as {c}' for c, value in values.items())}, "
            f"coalesce({updated}, {literal(str(batch.batch_date))}::date + interval 1 day) as updated, "
            f"{place} as place, {row_number(r.columns)} as number "
            f"from read_parquet({literal(str(r.path))}, file_row_number = true) "
            f"where ({rejection(table, r.columns)}) is null"
        )
    newest = "row_number() over (partition by key order by updated desc, place desc, number desc) = 1"
    # If items are renumbered, the latest batch that holds an order replaces all of its items.
    if settings.order_items_renumbered and name == "order_items":
        newest += " and place = max(place) over (partition by order_id)"
    return f"select * from ({' union all '.join(selects)}) qualify {newest}"
