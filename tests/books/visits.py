"""Events, the visits that they make up, and reviews."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from books.lines import month_key

EVENTS = {
    "views": "view", "cart_adds": "cart_add", "cart_removes": "cart_remove", "wishlist_adds": "wishlist_add",
    "searches": "search", "purchases": "purchase",
}  # fmt: skip
"""Measure → the type of event that it counts."""


def events(interactions: Iterable[dict]) -> list[dict]:
    """A row an event, with the customer and product that it names, whether or not a record describes them.

    Its time is event_date, else created_at.
    """
    return [
        {
            "event_id": event["event_id"],
            "customer": event["customer_id"],
            "product": event["product_id"],
            "session_id": event["session_id"],
            "occurred_at": (at := event["event_date"] or event["created_at"]),
            "month_key": month_key(at),
            "device_type": event["device_type"],
            "event_type": event["event_type"],
        }
        for event in interactions
    ]


def sessions(found: Iterable[dict]) -> list[dict]:
    """A row a session, as its first event places it; it did a step when it did that step or a later one."""
    grouped: dict[str, list[dict]] = defaultdict(list)
    for event in found:
        if event["session_id"] is not None:
            grouped[event["session_id"]].append(event)
    return [_session(group) for group in grouped.values()]


def _session(group: list[dict]) -> dict:
    first = min(group, key=lambda e: (e["occurred_at"] is None, e["occurred_at"] or 0, e["event_id"]))
    did = {event["event_type"] for event in group}
    return {
        "customer": first["customer"],
        "month_key": first["month_key"],
        "device_type": first["device_type"],
        "sessions": 1,
        "viewing_sessions": int(bool(did & {"view", "cart_add", "purchase"})),
        "carting_sessions": int(bool(did & {"cart_add", "purchase"})),
        "buying_sessions": int("purchase" in did),
    }


def counts(found: Iterable[dict]) -> dict[str, int]:
    """Events, in all and by type; a type that is none of the list counts as an event only."""
    kinds = [event["event_type"] for event in found]
    return {"events": len(kinds)} | {measure: kinds.count(kind) for measure, kind in EVENTS.items()}


def reviews(records: Iterable[dict], orders: dict[str, dict]) -> list[dict]:
    """A row a review: by its customer, else whoever ordered; at its own time, else the delivery's, else the order's."""
    rows = []
    for review in records:
        order = orders.get(review["order_id"], {})
        rows.append(
            {
                "review_id": review["review_id"],
                "customer": review["customer_id"] or order.get("customer"),
                "product": review["product_id"],
                "order_id": review["order_id"],
                "review_text": review["review_text"],
                "review_score": review["review_score"],
                "reviewed_at": review["created_at"] or order.get("delivered_at") or order.get("ordered_at"),
                "is_order_known": order.get("is_order_known", False),
            }
        )
    return rows


def sentiment(score: int | None) -> str:
    """Positive for 4 and 5 stars, neutral for 3, negative for 1 and 2."""
    if score is None:
        return "unknown"
    return "positive" if score >= 4 else "neutral" if score == 3 else "negative"
