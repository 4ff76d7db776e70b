"""The marts about customers: activity, segments, cohorts, the funnel and reviews."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from decimal import Decimal

from books import visits
from books.accounts import Books
from books.dimensions import dim_customers
from books.figures import UNKNOWN, grouped, month_start, ratio, sums
from books.lines import date_key, month_key

Rows = list[dict]


def fct_customer_reviews(books: Books) -> Rows:
    """What do customers say? Reviews with their score."""
    return [
        review
        | {
            "review": review["review_id"],
            "date_key": date_key(review["reviewed_at"]),
            "sentiment": visits.sentiment(review["review_score"]),
            "reviews": 1,
            "scored_reviews": int(review["review_score"] is not None),
        }
        for review in books.reviews
    ]


def fct_customer_activity(books: Books) -> Rows:
    """How engaged is a customer, month by month? A session counts once, by its first event."""
    found = {
        "events": grouped(books.events, lambda event: (event["customer"], event["month_key"])),
        "sessions": grouped(books.sessions, lambda session: (session["customer"], session["month_key"])),
        "orders": grouped(books.orders, lambda order: (order["customer"], month_key(order["ordered_at"]))),
        "reviews": grouped(books.reviews, lambda review: (review["customer"], month_key(review["reviewed_at"]))),
    }
    rows = []
    for customer, month in set().union(*found.values()):
        mine = {name: groups.get((customer, month), []) for name, groups in found.items()}
        rows.append(
            {"customer": customer, "month_key": month, "month_start": month_start(month)}
            | visits.counts(mine["events"])
            | sums(mine["sessions"], ("sessions", "buying_sessions"))
            | {"reviews": len(mine["reviews"])}
            | sums(mine["orders"], ("orders", "cancelled_orders", "units", "revenue"))
        )
    return rows


def fct_funnel(books: Books) -> Rows:
    """Where do visits end? Sessions by the step that they reach, by month, device and channel of the customer."""

    def channel(customer: str | None) -> str:
        return books.customers.get(customer, {}).get("acquisition_channel") or UNKNOWN

    def place(session: dict) -> tuple:
        return session["month_key"], session["device_type"] or UNKNOWN, channel(session["customer"])

    rows = []
    for (month, device, brought), found in grouped(books.sessions, place).items():
        steps = sums(found, ("sessions", "viewing_sessions", "carting_sessions", "buying_sessions"))
        rows.append(
            {"month_key": month, "month_start": month_start(month)}
            | {"device_type": device, "acquisition_channel": brought}
            | steps
            | {
                "view_to_cart_rate": ratio(steps["carting_sessions"], steps["viewing_sessions"], 4),
                "cart_to_purchase_rate": ratio(steps["buying_sessions"], steps["carting_sessions"], 4),
                "conversion_rate": ratio(steps["buying_sessions"], steps["sessions"], 4),
            }
        )
    return rows


def fct_cohort_retention(books: Books) -> Rows:
    """Do customers come back? Customers by the month of their first order, month by month up to the as-of date.

    Cancelled orders count; orders whose customer or day is not known stand in cohort 0, which has no customers.
    """
    known, lost = {}, []
    for customer, orders in grouped(books.orders, lambda order: order["customer"]).items():
        dated = [] if customer is None else [order for order in orders if order["ordered_at"]]
        lost += [order for order in orders if customer is None or not order["ordered_at"]]
        if dated:
            known[customer] = dated
    cohorts = grouped(known.values(), lambda orders: min(month_key(order["ordered_at"]) for order in orders))
    rows = [row for month, members in cohorts.items() for row in _cohort(books.as_of, month, members)]
    return [*rows, *([_no_cohort(lost)] if lost else [])]


_COHORT = ("orders", "cancelled_orders", "net_amount", "revenue")


def _cohort(as_of: date, first: int, members: list[Rows]) -> Rows:
    rows, so_far = [], Decimal(0)
    for since in range(_months(as_of.year * 100 + as_of.month) - _months(first) + 1):
        year, month = divmod(_months(first) + since, 12)
        key = year * 100 + month + 1
        orders = [order for of_one in members for order in of_one if month_key(order["ordered_at"]) == key]
        totals = sums(orders, _COHORT)
        so_far += totals["revenue"]
        active = len({order["customer"] for order in orders})
        rows.append(
            totals
            | {
                "cohort_month_key": first,
                "months_since_first_order": since,
                "cohort_month_start": month_start(first),
                "month_start": month_start(key),
                "cohort_customers": len(members),
                "active_customers": active,
                "retention_rate": ratio(active, len(members), 4),
                "cumulative_revenue": so_far,
                "cumulative_revenue_per_customer": ratio(so_far, len(members), 2),
                "is_whole_month": date(year, month + 1, monthrange(year, month + 1)[1]) <= as_of,
            }
        )
    return rows


def _months(key: int) -> int:
    return key // 100 * 12 + key % 100 - 1


def _no_cohort(orders: Rows) -> dict:
    totals = sums(orders, _COHORT)
    return totals | {
        "cohort_month_key": 0,
        "months_since_first_order": 0,
        "cohort_month_start": None,
        "month_start": None,
        "cohort_customers": 0,
        "active_customers": 0,
        "retention_rate": None,
        "cumulative_revenue": totals["revenue"],
        "cumulative_revenue_per_customer": None,
        "is_whole_month": False,
    }


def fct_customer_segments(books: Books) -> Rows:
    """Whom to write to, and how? The status of the customer, refined by how often they bought."""
    customers = dim_customers(books)
    buyers = {
        c["customer"]: c["revenue"] for c in customers if not c["is_unknown"] and c["orders"] > c["cancelled_orders"]
    }
    ordered = sorted(buyers.values())
    thirds = {who: 1 + 3 * ordered.index(revenue) // len(ordered) for who, revenue in buyers.items()}
    kept = ("customer", "days_since_last_order", "orders", "cancelled_orders", "revenue", "average_order_value")
    rows = []
    for customer in customers:
        who, status = customer["customer"], customer["customer_status"]
        times = min(3, customer["orders"] - customer["cancelled_orders"]) if who in buyers else None
        first = customer["first_order_at"]
        rows.append(
            {name: customer[name] for name in kept}
            | {
                "recency_score": {"active": 3, "lapsing": 2, "lost": 1}.get(status),
                "frequency_score": times,
                "monetary_score": thirds.get(who),
                "segment": segment(status, times, first is not None and (books.as_of - first.date()).days > 90),
            }
        )
    return rows


REFINED = {
    "active": {1: "new", 2: "promising", 3: "champion"},
    "lapsing": {1: "hibernating", 2: "needs attention", 3: "at risk"},
}
"""Status → segment by the number of orders that were not cancelled."""


def segment(status: str, times: int | None, is_of_old: bool) -> str:
    """Who has bought once is new only where the first order, cancelled ones included, is at most 90 days old."""
    found = REFINED.get(status, {}).get(times, status)
    return "promising" if found == "new" and is_of_old else found
