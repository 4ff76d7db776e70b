"""Totals that the owner of a shop knows by heart, of what is new in its landing zone: they betray a wrong export.

Of each key the record counts that staging would take among these, cancelled orders included; a value that cannot be
cast counts as none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from duckbook.reading import Reading
from duckbook.rows import key, literal, normalised, quoted, row_number
from duckbook.tables import source_tables

if TYPE_CHECKING:
    import duckdb

Typed = Callable[[Reading, str], str]
"""Gives the expression of a column of a reading as staging would cast it; null where the reading lacks it."""

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


def totals(connection: duckdb.DuckDBPyConnection, readings: Sequence[Reading], typed: Typed) -> list[dict]:
    """Orders, lines, units, amounts and the first and last day of what was read, a row a currency.

    Returns
    -------
    list of dict
        currency (empty where no record names one), orders, lines, units, items_amount, orders_amount, first_day,
        last_day; none where neither orders nor their items were read.
    """
    mine = {name: [r for r in readings if r.source.table == name and r.readable] for name in COLUMNS}
    if not any(mine.values()):
        return []
    query = TOTALS.format(**{name: _newest(name, found, typed) for name, found in mine.items()})
    result = connection.execute(query)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _newest(name: str, readings: Sequence[Reading], typed: Typed) -> str:
    table, columns = source_tables()[name], COLUMNS[name]
    if not readings:
        return f"select {', '.join(f'null as {column}' for column in ('key', *columns))} where false"
    in_time = sorted(readings, key=lambda r: (r.date or date.max, r.source.latest, r.source.name))
    selects = []
    for place, r in enumerate(in_time):
        # An order is found by its id as a key is written, whatever its column says.
        taken = [
            f"{normalised(quoted(c)) if c == 'order_id' and c in r.columns else typed(r, c)} as {quoted(c)}"
            for c in columns
        ]
        told = typed(r, table.update_time) if table.update_time else "null"
        selects.append(
            f"select {key(table, r.columns)} as key, {', '.join(taken)}, {told} as told, {place} as place, "
            f"{row_number(r.columns)} as number from read_parquet({literal(str(r.path))}, file_row_number = true)"
        )
    newest = "row_number() over (partition by key order by told desc nulls last, place desc, number desc) = 1"
    return f"select * from ({' union all '.join(selects)}) where key is not null qualify {newest}"
