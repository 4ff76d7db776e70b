"""Sentences of explore/02_customers.ipynb, each with an independent computation."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
from conclusions import (
    COMPARISON,
    ESTIMATE,
    FIGURE,
    GRID,
    ODD_PERIODS,
    Books,
    check_comparison,
    check_estimate,
    close,
    number,
    says,
)

GRID["customers"] = [
    {},
    {"state": "TX", "period_start": "2025-01-01"},
    {"channel": "referral"},
    {"state": "WY"},
    {"state": "WY", "channel": "social"},
    {"state": "x' or '1'='1"},
    {"channel": "O'Brien"},
    {"period_start": "31.12.2025"},
    {"period_start": "2026-06-10"},
    {"period_start": "2024-02-10", "period_end": "2025-02-09"},
    *ODD_PERIODS,
]


def customers(books: Books, chosen: dict) -> pd.DataFrame:
    """Known customers selected by the parameters, with their number of orders and the day of the first one."""
    orders = books.mart("fct_customer_orders")
    bought = orders[~orders.is_cancelled].groupby("customer_key").ordered_at.agg(["size", "min"])
    frame = books.mart("dim_customers")
    as_of = pd.to_datetime(frame.last_order_at).dt.normalize() + pd.to_timedelta(frame.days_since_last_order, "D")
    frame = frame.merge(books.mart("dim_locations")[["location_key", "state"]], on="location_key")
    frame = frame[~frame.is_unknown].merge(bought, left_on="customer_key", right_index=True, how="left")
    frame = frame.assign(bought=frame["size"].fillna(0), first=pd.to_datetime(frame["min"]).dt.normalize())
    if chosen["period_start"]:
        frame = frame[frame["first"] >= pd.Timestamp(chosen["period_start"])]
    if chosen["period_end"]:
        frame = frame[frame["first"] <= pd.Timestamp(chosen["period_end"])]
    for column, name in (("state", "state"), ("acquisition_channel", "channel")):
        frame = frame[frame[column] == chosen[name]] if chosen[name] else frame
    return frame.assign(as_of=as_of.max())


def lived(books: Books, chosen: dict, days: int) -> pd.DataFrame:
    """Buyers whose first order is at least this many days old, with their orders and revenue in these days."""
    frame = customers(books, chosen)
    frame = frame[frame["first"].notna() & ((frame.as_of - frame["first"]).dt.days + 1 >= days)]
    orders = books.mart("fct_customer_orders")
    orders = orders[~orders.is_cancelled & orders.ordered_at.notna()].merge(frame[["customer_key", "first"]])
    within = orders[pd.to_datetime(orders.ordered_at) < orders["first"] + pd.Timedelta(days=days)]
    sums = within.groupby("customer_key").agg(times=("order_key", "size"), money=("revenue", "sum"))
    return frame.merge(sums, left_on="customer_key", right_index=True)


def two_years(frame: pd.DataFrame) -> list[pd.DataFrame]:
    months = (frame["first"].max() - frame["first"]).dt.days // 365
    return [frame[months == 0], frame[months == 1]]


@says("customers", r"Too few buyers to read a pattern from, (?P<n>[\d,]+)\..*")
def few(books, chosen, said):
    assert number(said["n"]) == (customers(books, chosen).bought > 0).sum() < 200


@says(
    "customers",
    r"(?P<all>[\d,]+) customers, of whom (?P<n>[\d,]+) have bought, (?P<again>[\d,]+) of these more than once\.",
)
def counted(books, chosen, said):
    bought = customers(books, chosen).bought
    assert [number(said[name]) for name in ("all", "n", "again")] == [
        len(bought),
        (bought > 0).sum(),
        (bought > 1).sum(),
    ]


@says("customers", rf"Share of buyers who order again within 90 days of their first order: {ESTIMATE}\.?")
def back(books, chosen, said):
    frame = lived(books, chosen, 90)
    assert len(frame) >= 30
    check_estimate(said, (frame.times > 1, None, None))


@says("customers", r"Too few buyers can be followed for (?P<time>90 days|a year): (?P<n>\d+)\.?")
def few_to_follow(books, chosen, said):
    assert number(said["n"]) == len(lived(books, chosen, 90 if said["time"] == "90 days" else 365)) < 30


@says(
    "customers",
    rf"(?=Share of buyers who order again within 90 days(?:: | is )){COMPARISON}",
)
def back_in_two_years(books, chosen, said):
    parts = two_years(lived(books, chosen, 90))
    check_comparison(said, *((part.times > 1, None, None) for part in parts))


@says("customers", rf"Revenue per buyer in the first year: {ESTIMATE}\.?")
def worth(books, chosen, said):
    frame = lived(books, chosen, 365)
    assert len(frame) >= 30
    check_estimate(said, (frame.money.astype(float), None, None))


@says("customers", rf"(?=Revenue per buyer in the first year){COMPARISON}")
def worth_in_two_years(books, chosen, said):
    parts = two_years(lived(books, chosen, 365))
    check_comparison(said, *((part.money.astype(float), None, None) for part in parts), enough=200)


@says(
    "customers",
    rf"The tenth of the buyers who brought most brought (?P<share>{FIGURE}) of revenue"
    r"(?:; the Gini coefficient is (?P<gini>[\d.]+)\.)?",
)
def carried(books, chosen, said):
    frame = customers(books, chosen)
    money = np.sort(frame[frame.bought > 0].revenue.astype(float))[::-1]
    tenth = len(money) // 10 + (len(money) % 10 > 0)
    assert close(said["share"], money[:tenth].sum() / money.sum())
    if said["gini"]:
        pairs = np.abs(money[:, None] - money[None, :]).sum() if len(money) < 4000 else None
        place = np.arange(len(money), 0, -1)
        gini = 2 * (place * money).sum() / (len(money) * money.sum()) - (len(money) + 1) / len(money)
        assert pairs is None or abs(pairs / (2 * len(money) ** 2 * money.mean()) - gini) < 1e-6
        assert close(said["gini"], gini)


@says("customers", r"Too few buyers to be split into tenths")
def few_for_tenths(books, chosen, said):
    frame = customers(books, chosen)
    assert (frame.bought > 0).sum() < 10 or frame.revenue.sum() == 0


@says(
    "customers",
    rf"The segment “(?P<name>.+)” is (?P<heads>{FIGURE}) of the customers and (?P<money>{FIGURE}) of revenue",
)
def largest_segment(books, chosen, said):
    segments = books.mart("fct_customer_segments")[["customer_key", "segment"]]
    frame = customers(books, chosen).merge(segments, on="customer_key")
    sums = frame.groupby("segment").revenue.sum()
    assert sums[said["name"]] == sums.max()
    assert close(said["heads"], (frame.segment == said["name"]).mean())
    assert close(said["money"], float(sums[said["name"]] / sums.sum()) if sums.sum() else np.nan)


@says("customers", r"No customer has a segment")
def no_segment(books, chosen, said):
    assert customers(books, chosen).empty


@says("customers", rf"Customers at risk: (?P<n>[\d,]+); they have brought (?P<money>{FIGURE})\.")
def at_risk(books, chosen, said):
    segments = books.mart("fct_customer_segments")[["customer_key", "segment"]]
    frame = customers(books, chosen).merge(segments, on="customer_key")
    frame = frame[frame.segment == "at risk"]
    assert number(said["n"]) == len(frame)
    assert close(said["money"], float(sum(frame.revenue, Decimal(0))))


MONTH = r"[Ii]n \w+ \d{4} (?:[\d,]+ customers visited and [\d,]+|[\d,]+ customers) bought"


@says("customers", rf"(?P<now>{MONTH})(?:; (?P<then>{MONTH}))?\.?")
def active(books, chosen, said):
    selected = customers(books, chosen)
    frame = books.mart("fct_customer_activity").merge(selected[["customer_key"]], on="customer_key")
    frame = frame.assign(month=pd.to_datetime(frame.month_start)).dropna(subset="month")
    whole = frame[frame.month + pd.offsets.MonthEnd(1) <= selected.as_of.max()]
    first_visit = whole[whole.sessions > 0].month.min()
    last = whole.month.max()
    for text, month in ((said["now"], last), (said["then"], last - pd.DateOffset(years=1))):
        part = whole[whole.month == month]
        if text is None:
            assert part.empty
            continue
        assert f"{month:%B %Y}" in text
        bought = f"{(part.orders > part.cancelled_orders).sum():,}"
        if "visited" in text:
            assert f"{(part.sessions > 0).sum():,} customers visited and {bought} bought" in text
        else:
            assert f"{bought} customers bought" in text and not month >= first_visit


@says("customers", r"No month is over yet\.?")
def no_month(books, chosen, said):
    frame = customers(books, chosen)
    activity = books.mart("fct_customer_activity").merge(frame[["customer_key", "as_of"]], on="customer_key")
    assert not (pd.to_datetime(activity.month_start) + pd.offsets.MonthEnd(1) <= activity.as_of).any()
