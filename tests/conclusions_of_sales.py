"""Sentences of explore/01_sales.ipynb, each with an independent computation."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from conclusions import (
    ESTIMATE,
    FIGURE,
    RANKING,
    Books,
    check_estimate,
    check_ranking,
    close,
    number,
    percent,
    says,
)

ZONES = {
    "America/New_York": "CT DC DE FL GA IN KY MA MD ME MI NC NH NJ NY OH PA RI SC VA VT WV",
    "America/Chicago": "AL AR IA IL KS LA MN MO MS ND NE OK SD TN TX WI",
    "America/Denver": "CO ID MT NM UT WY",
    "America/Phoenix": "AZ",
    "America/Los_Angeles": "CA NV OR WA",
    "America/Anchorage": "AK",
    "Pacific/Honolulu": "HI",
}
ZONE_OF = {state: zone for zone, states in ZONES.items() for state in states.split()}
BY_ONE = r"(?:, more than half of it by one product, (?P<product>.+?))?\.?"
MONTH_NAMES = [date(2000, number, 1).strftime("%B") for number in range(1, 13)]


def lines(books: Books, chosen: dict) -> pd.DataFrame:
    """Order lines selected by the parameters."""
    whole = books.kept("lines of sales", lambda: _lines(books))
    keep = whole.day.notna()
    for name, column in (("state", "state"), ("category", "category_name")):
        if chosen[name] is not None:
            keep &= whole[column] == chosen[name]
    if chosen["period_start"]:
        keep &= whole.day >= date.fromisoformat(chosen["period_start"])
    if chosen["period_end"]:
        keep &= whole.day <= date.fromisoformat(chosen["period_end"])
    return whole[keep]


def _lines(books: Books) -> pd.DataFrame:
    frame = books.mart("fct_order_details").drop(columns="margin_amount")
    days = books.mart("dim_dates").set_index("date_key").date_day
    frame["day"] = [value if isinstance(value, date) else None for value in frame.date_key.map(days)]
    for column in ("revenue", "net_amount", "gross_amount", "discount_amount", "cancelled_amount", "refund_amount"):
        frame[column] = frame[column].astype(float)
    products = books.mart("dim_products")
    products = products.assign(
        product_name=products.product_name.where(products.product_name != "unknown", products.product_id)
    )[["product_key", "product_name", "category_name", "subcategory_name"]]
    places = books.mart("dim_locations")[["location_key", "city", "state", "region", "country"]]
    unknown = books.mart("dim_customers")[["customer_key", "is_unknown"]]
    return frame.merge(products, on="product_key").merge(places, on="location_key").merge(unknown, on="customer_key")


def span(books: Books, chosen: dict) -> tuple[date, date]:
    """First and last day with orders, within the period."""
    known = books.kept("lines of sales", lambda: _lines(books)).day.dropna()
    start = date.fromisoformat(chosen["period_start"]) if chosen["period_start"] else date.min
    end = date.fromisoformat(chosen["period_end"]) if chosen["period_end"] else date.max
    return max(known.min(), start), min(known.max(), end)


def whole_months(books: Books, chosen: dict) -> list[pd.Period]:
    """Months with data for every day."""
    first, last = span(books, chosen)
    months = pd.period_range(first, last, freq="M")
    return [one for one in months if one.start_time.date() >= first and one.end_time.date() <= last]


def by_month(frame: pd.DataFrame, column: str) -> pd.Series:
    return frame.groupby(pd.PeriodIndex(pd.to_datetime(frame.day), freq="M"))[column].sum()


@says("sales", r"(?P<n>[\d,]+) orders from (?P<first>.+?) to (?P<last>.+?)\.")
def counted(books, chosen, said):
    frame = lines(books, chosen)
    assert number(said["n"]) == frame.order_key.nunique()
    assert (said["first"], said["last"]) == (f"{frame.day.min():%d %B %Y}", f"{frame.day.max():%d %B %Y}")


@says("sales", r"Too few orders to read a pattern from, (?P<n>[\d,]+)\..*")
def few(books, chosen, said):
    assert number(said["n"]) == lines(books, chosen).order_key.nunique() < 200


@says("sales", r"The period has (?P<n>\d+) whole months: a comparison of two years takes 24\.?")
@says("sales", r"No season can be read from (?P<n>\d+) whole months: it takes 24\.?")
def too_short(books, chosen, said):
    assert int(said["n"]) == len(whole_months(books, chosen))


@says(
    "sales",
    rf"Twelve months to (?P<month>\w+ \d+): (?P<last>{FIGURE}) revenue"
    r"(?:, (?P<change>[\d,.]+%) (?P<way>more|less) than|;) "
    rf"(?P<before>{FIGURE}) in the twelve before\.?",
)
def grew(books, chosen, said):
    months = whole_months(books, chosen)
    assert len(months) >= 24
    revenue = by_month(lines(books, chosen), "revenue").reindex(months[-24:], fill_value=0.0)
    before, last = revenue[:12].sum(), revenue[12:].sum()
    assert said["month"] == f"{months[-1].start_time:%B %Y}"
    assert close(said["last"], last) and close(said["before"], before), (last, before)
    if said["change"]:
        assert close(said["change"], abs(last / before - 1)) and (said["way"] == "more") == (last > before)


@says("sales", RANKING.replace("(?P<what>[^:]+?)", "Revenue per day against the usual day"))
def season(books, chosen, said):
    months = whole_months(books, chosen)
    daily = lines(books, chosen).groupby("day").revenue.sum()
    days = pd.date_range(months[0].start_time, months[-1].end_time, freq="D")
    daily = daily.reindex([day.date() for day in days], fill_value=0.0)
    by = pd.Series(daily.to_numpy(), index=days.to_period("M"))
    sums, lengths = by.groupby(level=0).sum(), by.groupby(level=0).size()
    rows = {name: ([], [], None) for name in MONTH_NAMES}
    for place in range(6, len(months) - 5):
        around = months[place - 6 : place + 6]
        usual = sums[around].sum() / lengths[around].sum()
        if usual > 0:
            own = by[by.index == months[place]]
            top, bottom, _ = rows[MONTH_NAMES[months[place].month - 1]]
            top.extend(own)
            bottom.extend([usual] * len(own))
    check_ranking(said, {name: one for name, one in rows.items() if one[0]})


def clock(books: Books, chosen: dict) -> tuple[pd.DataFrame, bool]:
    """One row per order: its local time in its state, and whether it has a time of day."""
    orders = (
        lines(books, chosen)
        .groupby("order_key")
        .agg(at=("ordered_at", "min"), state=("state", "first"), region=("region", "first"))
    )
    orders = orders[orders["at"].notna()]
    zones = [
        ZONE_OF.get(state) if region != "unknown" else None
        for state, region in zip(orders.state, orders.region, strict=True)
    ]
    is_local = sum(zone is not None for zone in zones) * 2 > len(zones)
    utc = orders["at"].dt.tz_localize("UTC")
    is_timed = orders["at"] != orders["at"].dt.normalize()
    local = [
        moment.tz_localize(None)
        if not (timed and is_local)
        else (moment.tz_convert(ZoneInfo(zone)).tz_localize(None) if zone else pd.NaT)
        for moment, timed, zone in zip(utc, is_timed, zones, strict=True)
    ]
    return pd.DataFrame({"at": pd.to_datetime(pd.Series(local)), "is_timed": is_timed.to_numpy()}), is_local


@says("sales", r"Most orders have a day and no time of day: hours are left out\.?")
def without_hours(books, chosen, said):
    orders, _ = clock(books, chosen)
    assert (orders.is_timed & orders["at"].notna()).sum() * 2 <= len(orders)


@says(
    "sales",
    r"(?P<spans>From .+?) there are more orders than an even spread would give "
    r"\(n = (?P<n>[\d,]+); (?P<clock>.+?)\)\.?",
    r"In no hour can more orders be told than an even spread would give \(n = (?P<n>[\d,]+); (?P<clock>.+?)\)\.?",
)
def hours(books, chosen, said):
    orders, is_local = clock(books, chosen)
    assert said["clock"] == ("the clock of the order's state" if is_local else "UTC")
    timed = orders[orders.is_timed]["at"].dropna()
    assert number(said["n"]) == len(timed)
    told = set()
    if said.get("spans"):
        for part in said["spans"].lower().split(" and "):
            start, end = (int(word.split(":")[0]) for word in part.removeprefix("from ").split(" to "))
            told |= set(range(start, end))
    counts = timed.dt.hour.value_counts().reindex(range(24), fill_value=0)
    for hour in range(24):
        distance = (counts[hour] - len(timed) / 24) / np.sqrt(len(timed) / 24 * 23 / 24)
        assert (distance > 2.2) if hour in told else (distance < 4.0), f"{hour}:00 is {distance} standard errors off"
    assert not told or "hours" not in books.absent


@says("sales", RANKING.replace("(?P<what>[^:]+?)", "The share of a week's orders"))
def weekday(books, chosen, said):
    at = clock(books, chosen)[0]["at"].dropna()
    first, last = at.min().date(), at.max().date()
    counts = at.dt.date.value_counts()
    rows: dict = {}
    for monday in sorted({day - timedelta(days=day.weekday()) for day in counts.index}):
        if monday > first and monday + timedelta(days=6) < last:
            week = [int(counts.get(monday + timedelta(days=n), 0)) for n in range(7)]
            for n, orders in enumerate(week):
                top, bottom, weeks = rows.setdefault(f"{monday + timedelta(days=n):%A}", ([], [], []))
                top.append(orders)
                bottom.append(sum(week))
                weeks.append(monday)
    check_ranking(said, rows)
    assert not said["best"] or "hours" not in books.absent


def leading(frame: pd.DataFrame, column: str, said: dict) -> None:
    """Check that the named one has the most revenue of those with a name, and its share of all revenue."""
    revenue = frame.groupby(column).revenue.sum()
    named = revenue.drop("unknown", errors="ignore")
    assert abs(named[said["name"]] - named.max()) < 0.005, f"the most is {named.idxmax()}"
    if said.get("only"):
        assert len(named) == 1
        return
    assert close(said["revenue"], named.max())
    if said["share"]:
        assert said["share"] == percent(named.max() / revenue.sum())


LEADS = rf"with the most revenue, (?P<revenue>{FIGURE})(?: or (?P<share>[\d.]+%) of all)?\.?"


@says(
    "sales",
    rf"(?P<name>.+) is the (?:category|subcategory of .+) {LEADS}",
    r"(?P<name>.+) is the (?P<only>only) (?:category|subcategory of .+?)\.?",
)
def best_category(books, chosen, said):
    leading(lines(books, chosen), "subcategory_name" if chosen["category"] else "category_name", said)


@says(
    "sales",
    rf"(?P<name>.+) is the (?P<kind>state|country|city of \w+) {LEADS}",
    r"(?P<name>.+) is the (?P<only>only) (?P<kind>state|country|city of \w+?)\.?",
)
def best_place(books, chosen, said):
    frame = lines(books, chosen)
    if chosen["state"]:
        assert said["kind"] == f"city of {chosen['state']}"
        leading(frame, "city", said)
        return
    orders = frame.drop_duplicates("order_key")
    known, american = orders.country != "unknown", orders.country == "United States"
    kind = "country"
    if 2 * american.sum() > known.sum() and set(orders.state[american]) != {"unknown"}:
        # Orders to other countries are in the total, but in no state.
        kind, frame = "state", frame.assign(state=frame.state.where(frame.country == "United States", "unknown"))
    elif orders.country[known].nunique() < 2 and set(orders.state) != {"unknown"}:
        kind = "state"
    assert said["kind"] == kind
    leading(frame, kind, said)


@says("sales", r"The (?P<what>category|subcategory of (?P<whose>.+)) of what was sold is not known\.?")
def what_was_sold_is_not_known(books, chosen, said):
    assert said["whose"] == chosen["category"]
    assert set(lines(books, chosen)["subcategory_name" if said["whose"] else "category_name"]) == {"unknown"}


@says("sales", r"Where orders go(?: in (?P<state>.+))? is not known\.?")
def places_are_not_known(books, chosen, said):
    frame = lines(books, chosen)
    assert said["state"] == chosen["state"]
    assert all(set(frame[part]) == {"unknown"} for part in (("city",) if said["state"] else ("state", "country")))


@says(
    "sales",
    rf"The largest effect on the year is that of (?P<clear>[\w ]+): (?P<amount>{FIGURE}) "
    rf"\(95% interval (?P<low>{FIGURE}) to (?P<high>{FIGURE}), n = (?P<n>[\d,]+) products\){BY_ONE}",
    rf"Which effect on the year is the largest cannot be told: (?P<unclear>[\w ]+) made (?P<amount>{FIGURE}){BY_ONE}",
)
def largest_effect(books, chosen, said):
    months = whole_months(books, chosen)
    assert len(months) >= 24
    frame = lines(books, chosen)
    frame = frame[~frame.is_cancelled]
    month = pd.PeriodIndex(pd.to_datetime(frame.day), freq="M")
    sums = [frame[(month >= months[-n]) & (month <= months[-n + 11])] for n in (24, 12)]
    both = [one.groupby("product_key")[["units", "net_amount"]].sum() for one in sums]
    years = both[0].join(both[1], how="outer", lsuffix="0", rsuffix="1").fillna(0.0)
    q0, q1, r0, r1 = (years[name].astype(float) for name in ("units0", "units1", "net_amount0", "net_amount1"))
    in_both = (q0 > 0) & (q1 > 0)
    growth = q1[in_both].sum() / q0[in_both].sum() if in_both.any() else 1.0
    parts = pd.DataFrame(
        {
            "products that are gone": (-r0).where(~in_both, 0.0),
            "new products": r1.where(~in_both, 0.0),
            "volume": (r0 * (growth - 1)).where(in_both, 0.0),
            "mix": (r0 * (q1 / q0.where(in_both) - growth)).where(in_both, 0.0),
        }
    )
    parts["price"] = r1 - r0 - parts.sum(axis=1)
    totals = parts.sum()
    largest = totals.abs().idxmax()
    assert (said.get("clear") or said.get("unclear")) == largest, totals
    assert abs(number(said["amount"]) - totals[largest]) <= max(60.0, 0.0006 * abs(totals[largest])), totals
    share = parts[largest].abs().max() / abs(totals[largest])
    assert (share > 0.49) if said["product"] else (share < 0.51), f"one product makes {share} of it"
    if said.get("clear"):
        half = 1.96 * parts[largest].std() * np.sqrt(len(parts))
        limits = totals[largest] - half, totals[largest] + half
        assert number(said["n"]) == len(parts), len(parts)
        assert all(
            abs(number(said[name]) - limit) <= max(60.0, 0.01 * half + 0.0006 * abs(limit))
            for name, limit in zip(("low", "high"), limits, strict=True)
        ), limits
    signed = parts * np.sign(totals)
    gaps = [signed[largest] - signed[name] for name in parts.columns if name != largest]
    least = min(gap.sum() / (gap.std() * np.sqrt(len(gap))) for gap in gaps)
    # Fewer than 200 amounts are never compared.
    is_enough = len(parts) >= 200
    assert (is_enough and least > 2.0) if said.get("clear") else (not is_enough or least < 3.5), (
        f"it is ahead by {least} standard errors, with {len(parts)} products"
    )


@says("sales", r"Products are not told apart, so that effects on the year are left out\.?")
def without_effects(books, chosen, said):
    frame, months = lines(books, chosen), whole_months(books, chosen)
    frame = frame[~frame.is_cancelled & (frame.day >= months[-24].start_time.date())]
    assert frame[frame.day <= months[-1].end_time.date()].product_key.nunique() < 2


def order_values(books: Books, chosen: dict) -> pd.DataFrame:
    frame = lines(books, chosen)
    frame = frame[~frame.is_cancelled]
    orders = frame.groupby("order_key").agg(
        amount=("net_amount", "sum"), customer=("customer_key", "first"), unknown=("is_unknown", "first")
    )
    orders["cluster"] = [
        f"order {order}" if is_unknown else f"customer {customer}"
        for order, is_unknown, customer in zip(orders.index, orders.unknown, orders.customer, strict=True)
    ]
    return orders


@says("sales", rf"An order is worth {ESTIMATE} on average, and (?P<median>{FIGURE}) in the median\.?")
def order_value(books, chosen, said):
    orders = order_values(books, chosen)
    check_estimate(said, (orders.amount, None, orders.cluster))
    assert close(said["median"], orders.amount.median())


@says(
    "sales",
    rf"Too few customers to tell what an order is worth \(n = (?P<n>\d+)\): (?P<median>{FIGURE}) in the median\.?",
)
def few_values(books, chosen, said):
    orders = order_values(books, chosen)
    assert int(said["n"]) == orders.cluster.nunique() < 30
    assert close(said["median"], orders.amount.median())


@says("sales", r"Every order was cancelled\.?")
def all_cancelled(books, chosen, said):
    assert lines(books, chosen).is_cancelled.all()


@says(
    "sales",
    rf"Of (?P<gross>{FIGURE}) gross amount (?P<revenue>{FIGURE}) is left as revenue(?: \((?P<kept>[\d.−]+%)\))?"
    r"(?:; taken off: (?P<taken>[a-z, ]+?))?(?:; none recorded: (?P<none>[a-z, ]+?))?\.?",
)
def bridge(books, chosen, said):
    frame = lines(books, chosen)
    gross, revenue = frame.gross_amount.sum(), frame.revenue.sum()
    assert close(said["gross"], gross) and close(said["revenue"], revenue)
    if said["kept"]:
        assert said["kept"] == percent(revenue / gross)
    refunds = frame[~frame.is_cancelled].refund_amount
    steps = {"discounts": frame.discount_amount, "cancelled orders": frame.cancelled_amount, "refunds": refunds}
    told = {name: abs(amounts.sum()) > 0.004 for name, amounts in steps.items()}
    assert set((said["taken"] or "").split(", ")) - {""} == {name for name, is_any in told.items() if is_any}
    assert set((said["none"] or "").split(", ")) - {""} == {name for name, is_any in told.items() if not is_any}
