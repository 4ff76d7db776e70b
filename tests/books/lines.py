"""Order lines and orders with their money: the one definition of revenue, line by line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from books.figures import cents
from books.places import Places
from books.versions import valid_at

ZERO = Decimal("0.00")

TRILLION = 10**12
"""A cost of so much, or more, is none that can be known."""

MEASURES = (
    "order_lines", "units", "returned_units", "gross_amount", "discount_amount", "net_amount", "shipping_amount",
    "cancelled_amount", "refund_amount", "revenue",
)  # fmt: skip
"""What every line has and every mart of sales sums."""

COSTS = ("cost_amount", "uncosted_units")


def shared_out(amount: Decimal, weights: list[Decimal | None]) -> list[Decimal]:
    """Share an amount out in whole cents by largest remainder; ties in the order given.

    In proportion to the weights, whatever their sign; weights that come to nothing share alike, and None has no share.
    """
    cents = int(abs(amount) * 100)
    heavy = [abs(weight or ZERO) for weight in weights]
    heavy = heavy if any(heavy) else [Decimal(weight is not None) for weight in weights]
    whole = [cents * weight // sum(heavy) for weight in heavy]
    left = sorted(range(len(heavy)), key=lambda n: (-(cents * heavy[n] % sum(heavy)), n))
    for n in left[: cents - int(sum(whole))]:
        whole[n] += 1
    return [(cent if amount > 0 else -cent) / Decimal(100) for cent in whole]


def weights(items: list[dict]) -> list[Decimal | None]:
    """What each line weighs in the amounts of its order: nothing if it takes back, unless there are only such."""
    selling = [None if takes_back(item) else _amount(item) for item in items]
    return selling if any(weight is not None for weight in selling) else [_amount(item) for item in items]


def discounts(order: dict, items: list[dict], weighed: list[Decimal | None]) -> list[Decimal]:
    """Discount of each line: its own, and what the order takes off beyond the sum of its items', shared out.

    So lines that have a share take off what the order says or what they say, whichever is more; below zero, whichever
    is less.
    """
    own = [item.get("discount_amount") or ZERO for item in items]
    said = order.get("discount_amount") or ZERO
    beyond = said - sum(mine for mine, weight in zip(own, weighed, strict=True) if weight is not None)
    if said * beyond <= 0:
        return own
    return [mine + share for mine, share in zip(own, shared_out(beyond, weighed), strict=True)]


def is_cancelled(status: str | None) -> bool:
    """Cancelled is the status `cancelled` and no other."""
    return status == "cancelled"


def order_lines(
    orders: dict[tuple, dict],
    items: Iterable[dict],
    customers: dict[str, list[dict]],
    products: dict[str, list[dict]],
    places: Places,
) -> list[dict]:
    """A row an order line, and one an order without items, which carries its discount and shipping.

    Parameters
    ----------
    customers, products
        Id → versions.
    """
    of_order: dict[str, list[dict]] = defaultdict(list)
    for item in items:
        of_order[item["order_id"]].append(item)
    known = {order_id: order for (order_id,), order in orders.items()}
    lines = []
    for order_id in sorted(known.keys() | of_order.keys()):
        order = known.get(order_id, {})
        order_items = sorted(of_order[order_id], key=lambda item: item["order_item_id"]) or [{}]
        about = _of_order(order_id, order, order_id in known, order_items, customers, places)
        gross = [ZERO if takes_back(item) else _amount(item) for item in order_items]
        shipping = shared_out(order.get("shipping_cost") or ZERO, weights(order_items))
        off = discounts(order, order_items, weights(order_items))
        refunds = _refunds(order, order_items, [amount - discount for amount, discount in zip(gross, off, strict=True)])
        for item, *money in zip(order_items, gross, off, shipping, refunds, strict=True):
            lines.append(about | _line(about, item, *money, products))
    return lines


def _of_order(order_id, order, is_known, items, customers, places: Places) -> dict:
    """What a line has of its order: who, where and when."""
    made = [item["created_at"] for item in items if item.get("created_at")]
    ordered_at = order.get("order_date") or order.get("created_at") or min(made, default=None)
    customer = valid_at(customers.get(order.get("customer_id"), []), ordered_at)
    return {
        "order_id": order_id,
        "customer": customer and customer["customer_id"],
        "customer_version": customer and (customer["customer_id"], customer["version"]),
        "location": places.of_order(order.get("shipping_address"), customer),
        "status": order.get("status"),
        "payment_method": order.get("payment_method"),
        "ordered_at": ordered_at,
        "is_order_known": is_known,
        "is_cancelled": is_cancelled(order.get("status")),
        "order": order,
    }


def _amount(item: dict) -> Decimal:
    """The line's own total, else quantity x unit price, rounded at the end."""
    if item.get("total_price") is not None:
        return item["total_price"]
    return cents((item.get("unit_price") or ZERO) * (item.get("quantity") or 0))


def takes_back(item: dict) -> bool:
    """Whether a line is a return, or money given back, that the source writes as a line of its own."""
    return (item.get("quantity") or 0) < 0 or _amount(item) < 0


def _refunds(order: dict, items: list[dict], net: list[Decimal]) -> list[Decimal]:
    """What each line gives back: what it says and, where it takes back, what it comes to.

    Of an order that was refunded, and says nowhere how much, all of it.
    """
    told = [(item.get("refund_amount") or ZERO) - (takes_back(item) and _amount(item)) for item in items]
    says_nothing = not any(item.get("refund_amount") or (takes_back(item) and _amount(item)) for item in items)
    return net if order.get("status") == "refunded" and says_nothing else told


def known_cost(units: int, cost: Decimal | None) -> Decimal | None:
    """A cost, unless so many units at it would be worth more than can be."""
    return None if cost is None or abs(units * cost) >= TRILLION else cost


def _line(about: dict, item: dict, gross, discount, freight, refund: Decimal, products: dict) -> dict:
    """Net is gross less discount; revenue is net less refunds, and nothing of a cancelled order."""
    product = valid_at(products.get(item.get("product_id"), []), about["ordered_at"])
    is_credit, quantity, net = takes_back(item), item.get("quantity") or 0, gross - discount
    units = 0 if is_credit else quantity
    back = item.get("returned_at") or (item.get("created_at") if is_credit else None)
    returned = max(-quantity, 0) if is_credit else units if back else 0
    cost = known_cost(max(units, returned), product and product["cost"])
    stayed = 0 if about["is_cancelled"] else units - returned
    revenue = ZERO if about["is_cancelled"] else net - refund
    costed = ZERO if cost is None else cents(stayed * cost)
    return {
        "order_item_id": item.get("order_item_id"),
        "product": product and product["product_id"],
        "product_version": product and (product["product_id"], product["version"]),
        "order_lines": 1 if item else 0,
        "units": units,
        "returned_units": returned,
        "unit_price": item.get("unit_price"),
        "unit_cost": cost,
        "gross_amount": gross,
        "discount_amount": discount,
        "net_amount": net,
        "shipping_amount": freight,
        "cancelled_amount": net if about["is_cancelled"] else ZERO,
        "refund_amount": refund,
        "credit_amount": -_amount(item) if is_credit else ZERO,
        "revenue": revenue,
        "cost_amount": costed,
        "uncosted_units": abs(stayed) if cost is None else 0,
        "margin_amount": revenue - costed if cost is not None or not stayed else None,
        "is_returned": back is not None,
        "is_credit_line": is_credit,
        "is_order_without_items": not item,
        "returned_at": back,
    }


def whole_orders(lines: list[dict]) -> list[dict]:
    """A row an order: the sums of its lines, and what its own record says."""
    grouped: dict[str, list[dict]] = defaultdict(list)
    for line in lines:
        grouped[line["order_id"]].append(line)
    return [_whole(found) for found in grouped.values()]


def _whole(lines: list[dict]) -> dict:
    first, order = lines[0], lines[0]["order"]
    sums = {name: sum(line[name] for line in lines) for name in (*MEASURES, "credit_amount")}
    told, promised, delivered = order.get("total_amount"), order.get("promised_at"), order.get("delivered_at")
    about = ("order_id", "customer", "location", "status", "payment_method", "ordered_at", "is_order_known")
    return {
        **{name: first[name] for name in about},
        **sums,
        "is_cancelled": first["is_cancelled"],
        "orders": 1,
        "cancelled_orders": int(first["is_cancelled"]),
        "source_total_amount": told,
        "source_difference": None
        if told is None
        else told - sums["net_amount"] + sums["credit_amount"] - sums["shipping_amount"],
        "has_returns": sums["returned_units"] > 0,
        "is_late": None if promised is None or delivered is None else delivered > promised,
        "promised_at": promised,
        "shipped_at": order.get("shipped_at"),
        "delivered_at": delivered,
    }


def date_key(moment: datetime | None) -> int:
    """A day as 20260630; 0 where it is not known."""
    return int(moment.strftime("%Y%m%d")) if moment else 0


def month_key(moment: datetime | None) -> int:
    """A month as 202606; 0 where it is not known."""
    return date_key(moment) // 100
