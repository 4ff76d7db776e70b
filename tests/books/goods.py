"""The marts about products: performance, interactions, what is bought together, changes and stock."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import combinations

from books import visits
from books.accounts import Books
from books.dimensions import dim_products
from books.figures import cents, day, different, grouped, month_start, ratio
from books.lines import known_cost
from books.sales import sold

Rows = list[dict]


def fct_product_performance(books: Books) -> Rows:
    """Which products carry the shop? Sales, returns, interactions and reviews of each, over all time."""
    lines = grouped(books.lines, lambda line: line["product"])
    events = grouped(books.events, lambda event: event["product"])
    reviews = grouped(books.reviews, lambda review: review["product"])
    rows = []
    for product in dim_products(books):
        who = product["product"]
        totals, seen = sold(lines.get(who, [])), visits.counts(events.get(who, []))
        scores = [r["review_score"] for r in reviews.get(who, []) if r["review_score"] is not None]
        rows.append(
            totals
            | {name: product[name] for name in ("product", "category", "current_price", "stock_quantity")}
            | {name: seen[name] for name in ("events", "views", "cart_adds", "purchases")}
            | {
                "return_rate": ratio(totals["returned_units"], totals["units"], 4),
                "purchase_rate": ratio(seen["purchases"], seen["views"], 4),
                "reviews": len(reviews.get(who, [])),
                "scored_reviews": len(scores),
                "review_score_sum": sum(scores),
                "average_review_score": ratio(sum(scores), len(scores), 2),
            }
        )
    return rows


def fct_product_interactions(books: Books) -> Rows:
    """How is a product looked at, month by month?"""
    rows = []
    for (product, month), found in grouped(books.events, lambda e: (e["product"], e["month_key"])).items():
        counts = visits.counts(found)
        rows.append(
            {"product": product, "month_key": month, "month_start": month_start(month)}
            | {"customers": different(found, "customer")}
            | counts
            | {
                "cart_rate": ratio(counts["cart_adds"], counts["views"], 4),
                "purchase_rate": ratio(counts["purchases"], counts["views"], 4),
            }
        )
    return rows


def fct_basket_pairs(books: Books) -> Rows:
    """What is bought together? A basket is an order not cancelled with a product of a known subcategory."""
    baskets = {}
    for line in books.lines:
        subcategory = books.products.get(line["product"], {}).get("subcategory")
        if subcategory and not line["is_cancelled"] and not line["is_credit_line"]:
            baskets.setdefault(line["order_id"], set()).add(subcategory)
    alone = Counter(one for basket in baskets.values() for one in basket)
    together = Counter(pair for basket in baskets.values() for pair in combinations(sorted(basket), 2))
    return [
        {
            "subcategory_id_a": a,
            "subcategory_id_b": b,
            "subcategory_name_a": books.subcategories[a]["subcategory_name"] or "unknown",
            "subcategory_name_b": books.subcategories[b]["subcategory_name"] or "unknown",
            "baskets": len(baskets),
            "orders_with_a": alone[a],
            "orders_with_b": alone[b],
            "orders_with_both": both,
            "support": ratio(both, len(baskets), 6),
            "confidence_a_to_b": ratio(both, alone[a], 4),
            "confidence_b_to_a": ratio(both, alone[b], 4),
            "lift": ratio(both * len(baskets), alone[a] * alone[b], 4),
        }
        for (a, b), both in together.items()
    ]


def fct_product_changes(books: Books) -> Rows:
    """Launches, and each new price asked: the sale price, else the list price."""
    rows = []
    for product, versions in books.product_versions.items():
        prices = [books.priced(version)["current_price"] for version in versions]
        if launched := books.products[product]["created_at"]:
            rows.append(_change(product, "launch", launched, None, prices[0]))
        for version, before, after in zip(versions[1:], prices, prices[1:], strict=False):
            if before != after:
                rows.append(_change(product, "price change", version["valid_from"], before, after))
    return rows


def _change(product: str, kind: str, at, before, after) -> dict:
    difference = None if before is None or after is None else after - before
    return {
        "product": product,
        "change_type": kind,
        "changed_at": at,
        "launches": int(kind == "launch"),
        "price_changes": int(kind == "price change"),
        "price_before": before,
        "price_after": after,
        "price_difference": difference,
        "price_change_rate": ratio(difference, before, 4),
    }


WINDOW = 90
"""Demand is that of so many days up to the as-of date, which is the last of them."""


def fct_inventory_cover(books: Books) -> Rows:
    """How long does the stock last, at the pace at which it was sold?"""
    standing = [line for line in books.lines if not line["is_cancelled"] and line["order_lines"]]
    lines = grouped(standing, lambda line: line["product"])
    first = books.as_of - timedelta(WINDOW - 1)
    rows = []
    for product in dim_products(books):
        days = [(day(line["ordered_at"]), line["units"]) for line in lines.get(product["product"], [])]
        recent = sum(units for on, units in days if on and first <= on <= books.as_of)
        launched = day(product["launched_at"])
        age = WINDOW if launched is None else (books.as_of - launched).days + 1
        observed = max(1, min(WINDOW, age))
        stock = product["stock_quantity"]
        cost = known_cost(stock or 0, product["cost"])
        cover = None if stock is None or not recent else max(stock, 0) * observed // recent
        rows.append(
            {name: product[name] for name in ("product", "category", "stock_quantity", "is_active")}
            | {
                "stock_value": None if stock is None or cost is None else cents(stock * cost),
                "recent_units": recent,
                "days_observed": observed,
                "units_per_day": ratio(recent, observed, 4),
                "days_of_cover": cover,
                "cover_status": cover_status(stock, cover),
                "last_sold_on": max((on for on, units in days if on and units), default=None),
            }
        )
    return rows


def cover_status(stock: int | None, cover: int | None) -> str:
    """out of stock, low (less than 14 days), healthy, ample (more than 180 days), not selling, or unknown."""
    if stock is None:
        return "unknown"
    if stock <= 0:
        return "out of stock"
    if cover is None:
        return "not selling"
    return "low" if cover < 14 else "ample" if cover > 180 else "healthy"
