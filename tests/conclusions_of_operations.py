"""Sentences of explore/05_operations.ipynb and explore/06_all_marts.ipynb, each with an independent computation."""

from __future__ import annotations

import re
from datetime import date

import pandas as pd
from conclusions import (
    COMPARISON,
    ESTIMATE,
    FIGURE,
    RANKING,
    Books,
    check_comparison,
    check_estimate,
    check_ranking,
    close,
    number,
    says,
)

WHAT = "(?P<what>[^:]+?)"


def whole(books: Books) -> pd.DataFrame:
    """All orders that have a time, with their place."""

    def make() -> pd.DataFrame:
        orders = books.mart("fct_customer_orders")
        places = books.mart("dim_locations")[["location_key", "state", "region"]]
        unknown = books.mart("dim_customers")[["customer_key", "is_unknown"]]
        frame = orders.merge(places, on="location_key").merge(unknown, on="customer_key")
        for column in ("net_amount", "refund_amount", "cancelled_amount"):
            frame[column] = frame[column].astype(float)
        for column in ("ordered_at", "shipped_at", "delivered_at", "promised_at"):
            frame[column] = pd.to_datetime(frame[column])
        frame["customer"] = [
            f"order {order}" if is_unknown else f"customer {customer}"
            for order, is_unknown, customer in zip(frame.order_key, frame.is_unknown, frame.customer_key, strict=True)
        ]
        return frame[frame.ordered_at.notna()]

    return books.kept("orders of operations", make)


def orders(books: Books, chosen: dict) -> pd.DataFrame:
    """Orders selected by the parameters; `settled` marks those that are old enough."""
    frame = whole(books)
    last = frame.ordered_at.max()
    keep = pd.Series(True, index=frame.index)
    if chosen["state"] is not None:
        keep &= frame.state == chosen["state"]
    if chosen["period_start"]:
        keep &= frame.ordered_at.dt.date >= date.fromisoformat(chosen["period_start"])
    if chosen["period_end"]:
        keep &= frame.ordered_at.dt.date <= date.fromisoformat(chosen["period_end"])
    settled = frame.ordered_at + pd.Timedelta(days=chosen["settled_days"]) <= last
    return frame[keep].assign(settled=settled)


def late_and_punctual(books: Books, chosen: dict) -> list[pd.DataFrame]:
    """Promised orders of known customers whose follow-up period is over, with whether an order followed."""
    frame, all_orders = orders(books, chosen), whole(books)
    span = pd.Timedelta(days=chosen["follow_days"])
    frame = frame[frame.is_late.notna() & ~frame.is_cancelled & ~frame.is_unknown]
    frame = frame[frame.promised_at + span <= all_orders.ordered_at.max()]
    others = all_orders[~all_orders.is_cancelled].groupby("customer_key").ordered_at.apply(list)
    followed = [
        any(promised < other <= promised + span for other in others.get(customer, []))
        for customer, promised in zip(frame.customer_key, frame.promised_at, strict=True)
    ]
    frame = frame.assign(followed=followed)
    late = frame.is_late.astype(bool)
    return [frame[late], frame[~late]]


@says("operations", r"(?P<n>[\d,]+) orders, (?P<settled>[\d,]+) of them settled\.")
def counted(books, chosen, said):
    frame = orders(books, chosen)
    assert (number(said["n"]), number(said["settled"])) == (len(frame), frame.settled.sum())


@says("operations", r"Too few orders to read a pattern from, (?P<n>[\d,]+)\..*")
def few(books, chosen, said):
    assert number(said["n"]) == len(orders(books, chosen)) < 200


@says("operations", r"Not recorded for these orders, and so left out below: (?P<list>.+?)\.?")
def missing(books, chosen, said):
    assert set(said["list"].split(", ")) == unrecorded(orders(books, chosen))


def unrecorded(frame: pd.DataFrame) -> set[str]:
    recorded = {
        "statuses": (frame.order_status != "unknown").any(),
        "times of dispatch": frame.shipped_at.notna().any(),
        "times of delivery": frame.delivered_at.notna().any(),
        "promised times": frame.promised_at.notna().any(),
        "returns": frame.has_returns.any() or (frame.refund_amount != 0).any(),
        "ways of payment": (frame.payment_method != "unknown").any(),
    }
    return {name for name, is_any in recorded.items() if not is_any}


@says("operations", rf"Days from the order to its delivery: {ESTIMATE} on average\.?")
def pace(books, chosen, said):
    frame = orders(books, chosen)
    frame = frame[frame.settled & ~frame.is_cancelled & frame.delivered_at.notna()]
    check_estimate(said, ((frame.delivered_at.dt.normalize() - frame.ordered_at.dt.normalize()).dt.days, None, None))


@says("operations", r"No settled order has a time of delivery\.?")
def without_pace(books, chosen, said):
    frame = orders(books, chosen)
    assert not (frame.settled & ~frame.is_cancelled & frame.delivered_at.notna()).any()


@says("operations", rf"{ESTIMATE} of the deliveries come after the time promised\.?")
def lateness(books, chosen, said):
    frame = orders(books, chosen)
    check_estimate(said, (frame[frame.settled].is_late.dropna().astype(float), None, None))


@says("operations", r"No settled delivery has a promised time\.?")
def without_promise(books, chosen, said):
    frame = orders(books, chosen)
    assert not (frame.settled & frame.is_late.notna()).any()


@says("operations", RANKING.replace(WHAT, "The share of late deliveries"))
def late_regions(books, chosen, said):
    frame = orders(books, chosen)
    frame = frame[frame.settled & frame.is_late.notna() & (frame.region != "unknown")]
    check_ranking(said, {name: (rows.is_late.astype(float), None, None) for name, rows in frame.groupby("region")})


@says("operations", COMPARISON.replace(WHAT, "(?P<what>The share of orders with a return)"))
def late_returns(books, chosen, said):
    late, punctual = late_and_punctual(books, chosen)
    rows = [(one.has_returns.astype(float), None, one.customer) for one in (late, punctual)]
    check_comparison(said, *rows, is_absent="late" in books.absent)


@says("operations", COMPARISON.replace(WHAT, "(?P<what>The share of money refunded)"))
def late_refunds(books, chosen, said):
    late, punctual = late_and_punctual(books, chosen)
    rows = [(one.refund_amount, one.net_amount, one.customer) for one in (late, punctual)]
    check_comparison(said, *rows, is_absent="late" in books.absent)


@says("operations", COMPARISON.replace(WHAT, r"(?P<what>The share followed by an order within (?P<days>\d+) days)"))
def late_followed(books, chosen, said):
    assert int(said["days"]) == chosen["follow_days"]
    late, punctual = late_and_punctual(books, chosen)
    # No shop has a planted effect of this kind.
    check_comparison(
        said, *((one.followed.astype(float), None, one.customer) for one in (late, punctual)), is_absent=True
    )


@says("operations", r"No late order can be compared with one on time\.?")
def nothing_late(books, chosen, said):
    assert sum(map(len, late_and_punctual(books, chosen))) == 0


@says("operations", rf"(?P<cancelled>[\d,]+) of (?P<n>[\d,]+) orders were cancelled, worth (?P<amount>{FIGURE})\.?")
def cancelled(books, chosen, said):
    frame = orders(books, chosen)
    assert (number(said["cancelled"]), number(said["n"])) == (frame.is_cancelled.sum(), len(frame))
    assert close(said["amount"], frame.cancelled_amount.sum())
    assert "statuses" not in unrecorded(frame)


@says("operations", r"Whether an order was cancelled is not known\.?")
def cancelled_unknown(books, chosen, said):
    assert "statuses" in unrecorded(orders(books, chosen))


@says(
    "operations",
    RANKING.replace(WHAT, "The share of cancelled orders"),
    r"No payment method can be told to have the highest share of cancelled orders "
    r"\((?P<compared>\d+) compared(?P<left>[^()]*)\)\.?",
)
def cancelled_by_payment(books, chosen, said):
    frame = orders(books, chosen)
    frame = frame[frame.payment_method != "unknown"]
    ways = frame.groupby("payment_method")
    groups = {name: (rows.is_cancelled.astype(float), None, rows.customer) for name, rows in ways}
    if "compared" in said:
        # Any method with enough orders may have the highest share.
        left = dict(re.findall(r"; (.+?) left out, ([\d,]+) orders", said["left"]))
        assert {name: number(n) for name, n in left.items()} == {
            name: len(rows[0]) for name, rows in groups.items() if rows[2].nunique() < 30
        }
        without = ", ".join(left) or None
        groups_said = {"rivalled": "highest", "any": said["compared"], "also_without": without}
        said = dict.fromkeys(re.compile(RANKING).groupindex) | groups_said
    check_ranking(said, groups)


@says("operations", RANKING.replace(WHAT, "The share of units returned"))
def returns(books, chosen, said):
    frame = orders(books, chosen)
    frame = frame[frame.settled & ~frame.is_cancelled]
    products = books.mart("dim_products")[["product_key", "category_name"]]
    lines = books.mart("fct_order_details").merge(products, on="product_key")
    lines = lines[lines.order_key.isin(set(frame.order_key)) & (lines.category_name != "unknown")]
    sums = lines.groupby(["category_name", "order_key"])[["returned_units", "units"]].sum().reset_index()
    check_ranking(
        said,
        {name: (rows.returned_units, rows.units, rows.order_key) for name, rows in sums.groupby("category_name")},
    )


@says("operations", r"No unit is recorded to have come back\.?")
def without_returns(books, chosen, said):
    frame = orders(books, chosen)
    settled = frame[frame.settled & ~frame.is_cancelled]
    assert not settled.has_returns.any()


@says("operations", r"(?P<n>No|[\d,]+) orders? (?:was|were) overdue on (?P<day>.+?)\.")
def overdue(books, chosen, said):
    frame, last = orders(books, chosen), whole(books).ordered_at.max()
    is_overdue = ~frame.is_cancelled & frame.delivered_at.isna() & (frame.promised_at < last)
    assert (0 if said["n"] == "No" else number(said["n"])) == is_overdue.sum()
    assert said["day"] == f"{last:%d %B %Y}"
    assert not {"promised times", "times of delivery"} & unrecorded(frame)


@says("all_marts", r"(?P<mart>\w+) has (?P<rows>[\d,]+) rows(?P<most>, the most of all marts)?\.?")
def rows_of_marts(books, chosen, said):
    rows = {file.stem: len(pd.read_parquet(file)) for file in books.folder.glob("*.parquet")}
    assert number(said["rows"]) == rows[said["mart"]]
    assert bool(said["most"]) == (chosen["mart"] is None)
    assert rows[said["mart"]] == max(rows.values()) or chosen["mart"]
