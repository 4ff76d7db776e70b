"""The marts of sales: lines, orders, days, products by month, places by month, and how orders arrive."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from books.accounts import Books
from books.dimensions import dim_dates
from books.figures import UNKNOWN, average_order_value, day, different, grouped, month_start, ratio, sums
from books.lines import COSTS, MEASURES, date_key, month_key
from books.places import shown

Rows = list[dict]
ORDERS = ("orders", "cancelled_orders")


def fct_order_details(books: Books) -> Rows:
    """What was sold, to whom, at what price? Order lines, and an order without items as one."""
    rows = []
    for line in books.lines:
        kept = {name: value for name, value in line.items() if name not in ("status", "payment_method", "order")}
        kept |= {"order_status": line["status"] or UNKNOWN, "payment_method": line["payment_method"] or UNKNOWN}
        kept |= {"order": line["order_id"], "order_line": (line["order_id"], line["order_item_id"])}
        rows.append(kept | {"date_key": date_key(line["ordered_at"])})
    return rows


def fct_customer_orders(books: Books) -> Rows:
    """How does a customer order, one order after another? Undated orders are not numbered before dated ones."""
    rows = []
    for customer, found in grouped(books.orders, lambda order: order["customer"]).items():
        before = None
        found.sort(key=lambda o: (o["ordered_at"] is None, o["ordered_at"] or 0, o["order_id"]))
        for number, order in enumerate(found, 1):
            at, since = day(order["ordered_at"]), None
            if customer is not None and before and at:
                since = (at - before).days
            kept = {name: value for name, value in order.items() if name not in ("status", "payment_method")}
            kept |= {"order_status": order["status"] or UNKNOWN, "payment_method": order["payment_method"] or UNKNOWN}
            rows.append(
                kept
                | {
                    "order": order["order_id"],
                    "date_key": date_key(order["ordered_at"]),
                    "customer_order_number": None if customer is None else number,
                    "days_since_previous_order": since,
                    "is_first_order": customer is not None and number == 1,
                }
            )
            before = at
    return rows


def fct_sales_by_date(books: Books) -> Rows:
    """How do sales run from day to day? Every day of dim_dates, with zeros where nothing was sold."""
    by_day = grouped(books.orders, lambda order: date_key(order["ordered_at"]))
    rows = []
    for calendar in dim_dates(books):
        found = by_day[calendar["date_key"]]
        totals = sums(found, (*ORDERS, *MEASURES))
        rows.append(
            {name: calendar[name] for name in ("date_key", "date_day", "is_holiday", "is_weekend")}
            | {"customers": different(found, "customer")}
            | totals
            | {"average_order_value": average_order_value(totals)}
        )
    return rows


def fct_sales_by_product(books: Books) -> Rows:
    """How does a product sell, month by month?"""
    rows = []
    by_month = grouped(books.lines, lambda line: (line["product"], month_key(line["ordered_at"])))
    for (product, month), found in by_month.items():
        rows.append({"product": product, "month_key": month, "month_start": month_start(month)} | sold(found))
    return rows


def sold(lines: Rows) -> dict:
    """Sums of lines with what follows from them; a margin is null where the cost of any unit is not known."""
    totals = sums(lines, (*MEASURES, *COSTS))
    margin = None if totals["uncosted_units"] else totals["revenue"] - totals["cost_amount"]
    return totals | {
        "orders_with_product": len(
            {line["order_id"] for line in lines if line["order_lines"] and not line["is_credit_line"]}
        ),
        "margin_amount": margin,
        "average_unit_price": ratio(totals["net_amount"], totals["units"], 2),
        "margin_rate": ratio(margin, totals["revenue"], 4),
    }


def fct_sales_by_region(books: Books) -> Rows:
    """Where do orders go, month by month?"""
    rows = []
    for (country, region, state, month), found in grouped(books.orders, _region_and_month).items():
        totals = sums(found, (*ORDERS, *MEASURES))
        rows.append(
            {"country": country, "region": region, "state": state}
            | {"month_key": month, "month_start": month_start(month), "customers": different(found, "customer")}
            | totals
            | {"average_order_value": average_order_value(totals)}
        )
    return rows


def _region_and_month(order: dict) -> tuple:
    place = shown(order["location"])
    return place["country"], place["region"], place["state"], month_key(order["ordered_at"])


def fct_fulfilment(books: Books) -> Rows:
    """Do orders arrive, on time, and stay? Everything is dated by the order."""
    rows = []
    for (country, _, state, month), found in grouped(books.orders, _region_and_month).items():
        totals = sums(map(_arrival(books.as_of), found), _ARRIVAL)
        totals |= sums(found, (*ORDERS, "units", "returned_units", "refund_amount"))
        rows.append(
            {"month_key": month, "month_start": month_start(month), "country": country, "state": state}
            | totals
            | {
                "cancellation_rate": ratio(totals["cancelled_orders"], totals["orders"], 4),
                "late_rate": ratio(totals["late_deliveries"], totals["promised_deliveries"], 4),
                "return_rate": ratio(totals["returned_units"], totals["units"], 4),
                "average_days_to_ship": ratio(totals["days_to_ship"], totals["timed_shipments"], 2),
                "average_days_to_deliver": ratio(totals["days_to_deliver"], totals["timed_deliveries"], 2),
            }
        )
    return rows


_ARRIVAL = (
    "shipped_orders", "delivered_orders", "promised_deliveries", "late_deliveries", "overdue_orders",
    "returned_orders", "timed_shipments", "days_to_ship", "timed_deliveries", "days_to_deliver",
)  # fmt: skip


def _arrival(as_of: date):
    """How an order arrived, in numbers to be summed.

    Late is a delivery after the time promised. Overdue is what was promised for a day before the as-of date, and is
    neither delivered nor cancelled.
    """

    def told(order: dict) -> dict[str, int]:
        ordered, shipped, delivered, promised = (
            day(order[name]) for name in ("ordered_at", "shipped_at", "delivered_at", "promised_at")
        )
        overdue = promised and promised < as_of and not delivered and not order["is_cancelled"]
        figures = (
            shipped, delivered, delivered and promised, order["is_late"], overdue, order["has_returns"],
            ordered and shipped, ordered and shipped and (shipped - ordered) // timedelta(1),
            ordered and delivered, ordered and delivered and (delivered - ordered) // timedelta(1),
        )  # fmt: skip
        return {n: f if isinstance(f, int) else int(bool(f)) for n, f in zip(_ARRIVAL, figures, strict=True)}

    return told


def reconciled(marts: dict[str, Rows], additive: dict[str, list[str]], as_of: date) -> Rows:
    """Does every mart add up? The total of each additive measure of each fact mart, by the books."""
    return [
        {
            "mart": mart,
            "measure": measure,
            "mart_total": (total := Decimal(sum(row[measure] or 0 for row in marts[mart]))),
            "staging_total": total,
            "equal": True,
            "as_of": as_of,
        }
        for mart, measures in additive.items()
        for measure in measures
    ]
