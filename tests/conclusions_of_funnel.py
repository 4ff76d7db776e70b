"""Sentences of explore/04_funnel.ipynb, each with an independent computation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pandas as pd
from conclusions import (
    COMPARISON,
    GRID,
    ODD_PERIODS,
    RANKING,
    Books,
    check_comparison,
    check_ranking,
    close,
    number,
    says,
)

GRID["funnel"] = [
    {},
    {"device": "mobile"},
    {"channel": "affiliate", "period_start": "2025-07-01"},
    {"device": "tablet", "channel": "social"},
    {"device": "x' or '1'='1"},
    {"channel": "O'Brien"},
    {"period_start": "31.12.2025"},
    {"period_start": "2026-03-15"},
    *ODD_PERIODS,
]

SHARE = r"[\d.]+%|–"
SCOPE = "(?:Of all devices(?: and channels)?: )?"


def in_period(frame: pd.DataFrame, chosen: dict) -> pd.DataFrame:
    start, end = (pd.Timestamp(chosen[name] or limit) for name, limit in ENDS)
    months = pd.to_datetime(frame.month_start)
    if not chosen["period_start"] and not chosen["period_end"]:
        return frame
    return frame[(months >= start) & (months <= end)]


ENDS = (("period_start", "1900-01-01"), ("period_end", "2200-01-01"))


def visits(books: Books, chosen: dict) -> pd.DataFrame:
    frame = in_period(books.mart("fct_funnel"), chosen)
    for column, name in (("device_type", "device"), ("acquisition_channel", "channel")):
        frame = frame[frame[column] == chosen[name]] if chosen[name] else frame
    return frame


def by_customer(books: Books, chosen: dict) -> pd.DataFrame:
    """Visits of known customers per month, on all devices."""
    known = books.mart("dim_customers")
    known = known[~known.is_unknown][["customer_key", "acquisition_channel", "signed_up_at", "first_order_at"]]
    frame = books.mart("fct_customer_activity").merge(known, on="customer_key")
    frame = frame[frame.sessions > 0]
    return frame[frame.acquisition_channel == chosen["channel"]] if chosen["channel"] else frame


def steps(books: Books, chosen: dict) -> tuple[int, int, int]:
    frame = visits(books, chosen)
    return tuple(int(frame[name].sum()) for name in ("sessions", "carting_sessions", "buying_sessions"))


@says("funnel", r"Too few visits to read a pattern from, (?P<n>[\d,]+)\..*")
def few(books, chosen, said):
    assert number(said["n"]) == steps(books, chosen)[0] < 2000


@says("funnel", rf"(?P<filled>{SHARE}) of the visits filled the cart, (?P<bought>{SHARE}) bought")
def shares_of_steps(books, chosen, said):
    sessions, carts, buys = steps(books, chosen)
    assert close(said["filled"], carts / sessions) and close(said["bought"], buys / sessions)


@says(
    "funnel",
    rf"Of (?P<n>[\d,]+) visits (?P<carts>[\d,]+) \((?P<filled>{SHARE})\) filled the cart, and (?P<buys>[\d,]+) "
    rf"\((?P<bought>{SHARE})\) bought\.",
)
def numbers_of_steps(books, chosen, said):
    assert tuple(number(said[name]) for name in ("n", "carts", "buys")) == steps(books, chosen)
    shares_of_steps(books, chosen, said)


@says(
    "funnel",
    rf"(?P<early>[\d,]+) visits ended without a cart, (?P<of_all>{SHARE}) of all; (?P<late>[\d,]+) ended with one and "
    rf"without a purchase, (?P<of_carts>{SHARE}) of those with a cart\.",
)
def ends(books, chosen, said):
    sessions, carts, buys = steps(books, chosen)
    assert (number(said["early"]), number(said["late"])) == (sessions - carts, carts - buys)
    assert close(said["of_all"], 1 - carts / sessions)
    assert close(said["of_carts"], (carts - buys) / carts if carts else np.nan)


@says(
    "funnel",
    rf"Visits ended most often after “(?P<most>.+)” \((?P<n>[\d,]+)\); the largest share of those at a step ended "
    rf"after “(?P<steep>.+)” \((?P<share>{SHARE})\)\.",
)
def where_visits_end(books, chosen, said):
    frame = visits(books, chosen)
    names = ("sessions", "viewing_sessions", "carting_sessions", "buying_sessions")
    reached = [int(frame[name].sum()) for name in names]
    ended = dict(zip(("visit", "saw a product", "filled the cart"), -np.diff(reached), strict=True))
    shares = {step: n / whole if whole else 0.0 for (step, n), whole in zip(ended.items(), reached, strict=False)}
    assert number(said["n"]) == ended[said["most"]] == max(ended.values()), ended
    assert shares[said["steep"]] == max(shares.values()) and close(said["share"], shares[said["steep"]]), shares


@says("funnel", r"No visit ended before it bought\.")
def every_visit_bought(books, chosen, said):
    sessions, _, buys = steps(books, chosen)
    assert sessions == buys > 0


# -- devices ----------------------------------------------------------------------------------------------------------


def devices(books: Books, chosen: dict) -> list[str]:
    """Known devices, those with the most visits first."""
    sums = visits(books, chosen).groupby("device_type").sessions.sum()
    return sorted((name for name in sums.index if name != "unknown"), key=lambda name: (-sums[name], name))


def within_months(books: Books, chosen: dict, one: str, other: str) -> tuple[float, float, float, int, int]:
    """Shares with Mantel-Haenszel weights, the standard error of their difference, and the numbers of visits."""
    frame = visits(books, chosen)
    frame = frame[frame.month_start.notna()]
    cells = frame.groupby(["month_start", "acquisition_channel", "device_type"])[["sessions", "buying_sessions"]].sum()
    cells = cells.unstack("device_type", fill_value=0).astype(float)
    n = [cells["sessions"].get(name, pd.Series(0.0, cells.index)) for name in (one, other)]
    hits = [cells["buying_sessions"].get(name, pd.Series(0.0, cells.index)) for name in (one, other)]
    both = (n[0] > 0) & (n[1] > 0)
    (n, hits) = ([x[both] for x in n], [x[both] for x in hits])
    weight = n[0] * n[1] / (n[0] + n[1])
    shares = [float((weight * h / m).sum() / weight.sum()) for h, m in zip(hits, n, strict=True)]
    errors = [
        share * (1 - share) * (weight**2 / m).sum() / weight.sum() ** 2 for share, m in zip(shares, n, strict=True)
    ]
    return (*shares, sqrt(sum(errors)), int(n[0].sum()), int(n[1].sum()))


def is_few(first: float, second: float, n_one: int, n_other: int) -> bool:
    """Whether one of two devices has few visits, or would have few purchases at the pooled share.

    The notebook needs 30 visits and 10 purchases at the effective size; the limits here allow for the design effect.
    """
    share = (first * n_one + second * n_other) / (n_one + n_other)
    return min(n_one, n_other) < 150 or share * min(n_one, n_other) < 25


@says("funnel", rf"(?=Conversion in the same months){COMPARISON}")
def a_device_with_the_usual_one(books, chosen, said):
    names = devices(books, chosen)
    one, other = (said["one"], said["other"]) if said["verdict"] else (said["same_one"], said["same_other"])
    if said["few_one"]:
        one, other = said["few_one"], said["few_other"]
    assert other == names[0] and one in names[1:]
    first, second, error, n_one, n_other = within_months(books, chosen, one, other)
    if said["few_one"]:
        assert is_few(first, second, n_one, n_other)
        return
    assert close(said["of_one"], first) and close(said["of_other"], second), f"they are {first} and {second}"
    assert (number(said["n_one"]), number(said["n_other"])) == (n_one, n_other)
    distance = (first - second) / error
    if said["verdict"]:
        assert distance * (1 if said["verdict"] == "higher" else -1) > 1.9, f"{distance} standard errors"
        assert "device" not in books.absent
    else:
        assert abs(distance) < 4, f"{distance} standard errors"


@says("funnel", r"Conversion is (?P<told>.+) than on (?P<usual>.+)")
def devices_that_differ(books, chosen, said):
    names = devices(books, chosen)
    assert said["usual"] == names[0] and "device" not in books.absent
    for part in said["told"].split(", "):
        verdict, _, others = part.partition(" on ")
        for other in others.split(" and "):
            first, second, error, *_ = within_months(books, chosen, other, names[0])
            assert (first - second) / error * (1 if verdict == "higher" else -1) > 1.9, other


@says("funnel", r"No difference between devices can be told")
def no_device_differs(books, chosen, said):
    names = devices(books, chosen)
    for other in names[1:]:
        first, second, error, *counted = within_months(books, chosen, other, names[0])
        assert abs(first - second) / error < 4 or is_few(first, second, *counted), other


@says(
    "funnel",
    r"There is no second device to compare with",
    r"Devices cannot be compared: there are visits from one device at most\.",
)
def one_device(books, chosen, said):
    assert len(devices(books, chosen)) < 2


@says("funnel", r"The design effect is (?P<effect>[\d.]+)\.")
def visits_resemble_each_other(books, chosen, said):
    frame = in_period(by_customer(books, chosen), chosen).groupby("customer_key")[["sessions", "buying_sessions"]].sum()
    sessions, buys = frame.sessions.astype(float), frame.buying_sessions.astype(float)
    effect = 1.0
    if 0 < buys.sum() < sessions.sum():
        share = buys.sum() / sessions.sum()
        effect = max(((buys - share * sessions) ** 2).sum() / (share * (1 - share) * sessions.sum()), 1.0)
    assert abs(number(said["effect"]) - effect) < 0.01 + 0.03 * effect, f"it is {effect}"


# -- channels ---------------------------------------------------------------------------------------------------------


def channels(books: Books, chosen: dict) -> dict:
    frame = in_period(by_customer(books, chosen), chosen)
    sums = frame.groupby(["acquisition_channel", "customer_key"])[["sessions", "buying_sessions"]].sum().reset_index()
    parts = sums[sums.acquisition_channel != "unknown"].groupby("acquisition_channel")
    return {name: (part.buying_sessions, part.sessions, None) for name, part in parts}


@says("funnel", rf"{SCOPE}(?=Conversion by channel){RANKING}")
def best_channel(books, chosen, said):
    check_ranking(said, channels(books, chosen))


@says("funnel", r"Conversion is highest for customers of the channel “(?P<name>.+)”")
def channel_of_the_title(books, chosen, said):
    groups = channels(books, chosen)
    shares = {name: top.sum() / bottom.sum() for name, (top, bottom, _) in groups.items() if len(top) >= 30}
    assert said["name"] == max(shares, key=shares.get)


@says("funnel", r"No channel can be told from all others")
def several_channels(books, chosen, said):
    assert len(channels(books, chosen)) > 1


@says(
    "funnel",
    r"There are no channels to compare",
    rf"{SCOPE}Channels cannot be compared: there are customers of one\.",
)
def one_channel(books, chosen, said):
    assert sum(len(top) >= 30 for top, *_ in channels(books, chosen).values()) < 2


# -- new customers ----------------------------------------------------------------------------------------------------


def newcomers(books: Books, chosen: dict) -> pd.DataFrame:
    """Visits and purchases in each customer's first six months, for quarters whose customers have completed them."""
    activity = books.mart("fct_customer_activity")
    first = pd.to_datetime(activity.month_start[activity.sessions > 0]).min()
    cohorts = books.mart("fct_cohort_retention")
    last = pd.to_datetime(cohorts.month_start[cohorts.is_whole_month]).max()
    if chosen["period_start"]:
        first = max(first, pd.Timestamp(chosen["period_start"]))
    if chosen["period_end"]:
        last = min(last, pd.Timestamp(chosen["period_end"]))
    frame = by_customer(books, chosen)
    came = pd.to_datetime(frame.signed_up_at).fillna(pd.to_datetime(frame.first_order_at)).dt.to_period("M")
    age = (pd.to_datetime(frame.month_start).dt.to_period("M") - came).map(lambda gap: getattr(gap, "n", -1))
    frame = frame.assign(quarter=came.dt.asfreq("Q"))[(age >= 0) & (age < 6)]
    begins = frame.quarter.dt.to_timestamp()
    frame = frame[(begins >= first) & (begins + pd.DateOffset(months=7) <= last)]
    return frame.groupby(["quarter", "customer_key"])[["sessions", "buying_sessions"]].sum().reset_index()


TREND = r"Conversion of customers in their first six months"


@says("funnel", rf"{SCOPE}(?={TREND}){COMPARISON}")
def a_year_of_newcomers(books, chosen, said):
    frame = newcomers(books, chosen)
    quarters = sorted(frame.quarter.unique())[-8:]
    assert len(quarters) == 8
    parts = [frame[frame.quarter.isin(some)] for some in (quarters[4:], quarters[:4])]
    check_comparison(said, *((part.buying_sessions, part.sessions, None) for part in parts))
    ends = f"{quarters[4].year} Q{quarters[4].quarter} to {quarters[7].year} Q{quarters[7].quarter}"
    assert said["few_one"] or said["name_one"] == f"those who came from {ends}"


@says(
    "funnel",
    r"New customers' conversion, year on year: (?P<turn>higher|lower|no change can be told|too few to compare)",
)
def turn(books, chosen, said):
    frame = newcomers(books, chosen)
    quarters = sorted(frame.quarter.unique())[-8:]
    now, before = (
        part.buying_sessions.sum() / part.sessions.sum()
        for part in (frame[frame.quarter.isin(some)] for some in (quarters[4:], quarters[:4]))
    )
    assert len(quarters) == 8
    assert said["turn"] not in ("higher", "lower") or (now > before) == (said["turn"] == "higher")


@says("funnel", rf"{SCOPE}Too few whole quarters to compare new customers of a year with those of the year before\.?")
def few_quarters(books, chosen, said):
    assert len(newcomers(books, chosen).quarter.unique()) < 8


# -- products ---------------------------------------------------------------------------------------------------------


@says(
    "funnel",
    rf"{SCOPE}Of the (?P<of>[\d,]+) most viewed products, (?P<n>none can be told to be|[\d,]+ (?:is|are)) bought less "
    rf"often per view than the rest(?:, such as (?P<name>.+): (?P<share>{SHARE}) of (?P<looks>[\d,]+) views)?\.",
)
def looked_at(books, chosen, said):
    products = books.mart("dim_products")
    products = products[~products.is_unknown & (products.is_active.astype("object") != False)]  # noqa: E712
    events = in_period(books.mart("fct_product_interactions"), chosen)
    sums = events.groupby("product_key")[["views", "purchases"]].sum().reset_index().merge(products, on="product_key")
    sums["looks"] = sums[["views", "purchases"]].max(axis=1)
    sums = sums[sums.looks > 0]
    assert abs(number(said["of"]) - len(sums) / 4) <= 1 + 0.05 * len(sums)
    if said["name"]:
        found = sums[(sums.product_name == said["name"]) & (sums.looks == number(said["looks"]))]
        mean = sums.purchases.sum() / sums.looks.sum()
        assert len(found) and close(said["share"], float((found.purchases / found.looks).iloc[0]))
        assert number(said["share"]) < mean
    seldom = 0 if said["n"].startswith("none") else number(said["n"].split()[0])
    assert seldom <= number(said["of"]) and (seldom > 0) == bool(said["name"])
    assert said["n"].endswith("is") == (seldom == 1)
