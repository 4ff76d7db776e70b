"""Sentences of explore/03_products.ipynb, each with an independent computation."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations
from math import log

import numpy as np
import pandas as pd
from conclusions import (
    COMPARISON,
    FIGURE,
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

GRID["products"] = [
    {},
    {"category": "Clothing"},
    {"category": "Women's wear"},
    {"category": "Electronics", "period_start": "2025-07-01"},
    {"category": "x' or '1'='1"},
    {"period_end": "2024-12-01"},
    {"period_start": "31.12.2025"},
    {"period_start": "2026-03-15"},
    {"orders_together": 5, "period_start": "2026-01-01"},
    *ODD_PERIODS,
]


def lines(books: Books, chosen: dict) -> pd.DataFrame:
    """Order lines of the period with their products, in all categories."""
    products = books.mart("dim_products")[["product_key", "category_name", "subcategory_name", "is_unknown"]]
    frame = books.mart("fct_order_details").merge(products, on="product_key")
    unknown = books.mart("dim_customers")
    unknown = set(unknown.customer_key[unknown.is_unknown])
    frame["customer"] = [
        f"order {order}" if customer in unknown else f"customer {customer}"
        for order, customer in zip(frame.order_key, frame.customer_key, strict=True)
    ]
    return in_period(frame, chosen)


def in_period(frame: pd.DataFrame, chosen: dict) -> pd.DataFrame:
    """Rows of orders in the period; those without a time are included unless a period is chosen."""
    if not chosen["period_start"] and not chosen["period_end"]:
        return frame
    start, end = (
        pd.Timestamp(chosen["period_start"] or "1900-01-01"),
        pd.Timestamp(chosen["period_end"] or "2200-01-01"),
    )
    when = pd.to_datetime(frame.ordered_at)
    return frame[(when >= start) & (when < end + pd.DateOffset(months=1))]


def of_category(frame: pd.DataFrame, chosen: dict) -> pd.DataFrame:
    if not chosen["category"]:
        return frame
    return frame[(frame.category_name == chosen["category"]) & ~frame.is_unknown]


def products(books: Books, chosen: dict) -> pd.DataFrame:
    """Known products with their units and revenue in the period."""
    sums = of_category(lines(books, chosen), chosen).groupby("product_key")[["units", "revenue"]].sum()
    frame = of_category(books.mart("dim_products"), chosen)
    frame = frame[~frame.is_unknown].merge(sums, left_on="product_key", right_index=True, how="left")
    return frame.assign(units=frame.units.fillna(0).astype(float), revenue=frame.revenue.fillna(0).astype(float))


@says("products", r"Too few units sold to read a pattern from, (?P<n>[\d,]+)\..*")
def few(books, chosen, said):
    assert number(said["n"]) == of_category(lines(books, chosen), chosen).units.sum() < 500


@says("products", r"Not known in this shop: (?P<names>[\w, ]+)\. They are left out below\.")
def not_known(books, chosen, said):
    frame = books.mart("fct_order_details")
    missing = {
        "costs": frame.unit_cost.isna().all(),
        "discounts": frame.discount_amount.sum() == 0,
        "returns": frame.returned_units.sum() == 0,
    }
    assert set(said["names"].split(", ")) == {name for name, is_missing in missing.items() if is_missing}


@says(
    "products",
    rf"Of (?P<all>[\d,]+) products (?P<sold>[\d,]+) were sold in the period: (?P<n>[\d,]+) units for "
    rf"(?P<money>{FIGURE}) net\.",
    rf"No product is known; (?P<n>[\d,]+) units were sold for (?P<money>{FIGURE}) net\.",
)
def sold(books, chosen, said):
    frame, listed = of_category(lines(books, chosen), chosen), products(books, chosen)
    assert number(said["n"]) == frame.units.sum()
    assert close(said["money"], float(sum(frame.revenue, Decimal(0))))
    counts = [number(said["all"]), number(said["sold"])] if "all" in said else [0, 0]
    assert counts == [len(listed), (listed.units > 0).sum()]


@says("products", r"(?P<few>[\d,]+) of (?P<all>[\d,]+) products bring 80% of revenue\.?")
def carried(books, chosen, said):
    revenue = np.sort(products(books, chosen).revenue)[::-1]
    before = revenue.cumsum() - revenue
    assert [number(said["few"]), number(said["all"])] == [(before < 0.8 * revenue.sum() - 1e-6).sum(), len(revenue)]


@says("products", r"No known product has brought revenue\.?")
def carried_by_none(books, chosen, said):
    assert products(books, chosen).revenue.sum() <= 0


@says("products", rf"(?P<money>{FIGURE}) of revenue has no known product\.")
def beside(books, chosen, said):
    frame = of_category(lines(books, chosen), chosen)
    assert close(said["money"], float(sum(frame.revenue[frame.is_unknown], Decimal(0))))


# -- margins ----------------------------------------------------------------------------------------------------------


def margins(books: Books, chosen: dict) -> dict:
    frame = of_category(lines(books, chosen), chosen)
    frame = frame[~frame.is_unknown & (frame.category_name != "unknown") & frame.margin_amount.notna()]
    frame = frame.assign(margin=frame.margin_amount.astype(float), money=frame.revenue.astype(float))
    sums = frame.groupby(["category_name", "customer"])[["margin", "money"]].sum().reset_index()
    return {name: (part.margin, part.money, None) for name, part in sums.groupby("category_name")}


@says("products", rf"(?=Margin rate){RANKING}")
def best_margin(books, chosen, said):
    check_ranking(said, margins(books, chosen), enough=100)


@says("products", r"(?P<name>.+) keeps the largest share of its revenue")
def margin_of_the_title(books, chosen, said):
    rates = {
        name: top.sum() / bottom.sum() for name, (top, bottom, _) in margins(books, chosen).items() if len(top) > 99
    }
    assert said["name"] == max(rates, key=rates.get)


@says("products", r"No category can be told to keep the largest share of its revenue")
def several_margins(books, chosen, said):
    assert len(margins(books, chosen)) > 1


@says("products", r"Margins are left out: no cost is known\.?")
def no_margin(books, chosen, said):
    assert not any(len(top) > 99 for top, *_ in margins(books, chosen).values())


# -- pairs ------------------------------------------------------------------------------------------------------------


def pairs(books: Books, chosen: dict) -> dict[str, tuple[float, float, int]]:
    """Orders with both, orders expected among orders of the same quarter and similar value, and squares by customer."""
    frame = lines(books, chosen)
    frame = frame[~frame.is_cancelled & ~frame.is_unknown & (frame.subcategory_name != "unknown")]
    things = frame.assign(thing=list(zip(frame.subcategory_name, frame.category_name, strict=True)))
    orders = things.groupby("order_key").agg(
        value=("gross_amount", lambda amounts: float(sum(amounts, Decimal(0)))), of=("product_key", "nunique"),
        kinds=("thing", "nunique"), at=("ordered_at", "min"), customer=("customer", "first"),
    )  # fmt: skip
    orders = orders[orders.kinds > 1].reset_index()
    orders = orders.assign(value=orders.value / orders.of).sort_values(["value", "order_key"], ignore_index=True)
    large, size = len(orders) % 10, len(orders) // 10
    ends = np.cumsum([size + (tenth < large) for tenth in range(10)])
    orders["tenth"] = np.searchsorted(ends, np.arange(len(orders)), side="right")
    orders["stratum"] = list(zip(pd.to_datetime(orders["at"]).dt.to_period("Q").astype(str), orders.tenth, strict=True))
    held = things.drop_duplicates(["order_key", "thing"]).groupby("order_key").thing.agg(sorted)
    together: dict[tuple, dict] = {}
    expected: dict[tuple, float] = {}
    for _, part in orders.groupby("stratum"):
        baskets = [held[order] for order in part.order_key]
        counts: dict[tuple, int] = {}
        for basket, customer in zip(baskets, part.customer, strict=True):
            for thing in basket:
                counts[thing] = counts.get(thing, 0) + 1
            for pair in combinations(basket, 2):
                by = together.setdefault(pair, {})
                by[customer] = by.get(customer, 0) + 1
        picks, ordered = sum(counts.values()), sum(len(basket) * (len(basket) - 1) for basket in baskets)
        unlike = ordered / (1 - sum((count / picks) ** 2 for count in counts.values()))
        for one, other in combinations(sorted(counts), 2):
            share = counts[one] / picks * counts[other] / picks
            expected[one, other] = expected.get((one, other), 0.0) + unlike * share
    found = {}
    for (one, other), chance in expected.items():
        if not chosen["category"] or chosen["category"] in (one[1], other[1]):
            by = together.get((one, other), {})
            found[f"{one[0]} + {other[0]}"] = (sum(by.values()), chance, sum(n * n for n in by.values()))
    return found


def counted_pairs(books: Books, chosen: dict) -> dict:
    key = f"pairs {chosen['category']} {chosen['period_start']} {chosen['period_end']}"
    return books.kept(key, lambda: pairs(books, chosen))


@says(
    "products",
    r"Of (?P<all>[\d,]+) pairs of subcategories (?P<often>[\d,]+) are in (?P<limit>[\d,]+) orders or more; bought "
    r"together more often than by chance: (?P<n>[\d,]+)(?:, such as (?P<pair>.+): (?P<lift>[\d.]+) times "
    r"\(95% interval (?P<low>[\d.]+) to (?P<high>[\d.]+), (?P<orders>[\d,]+) orders\))?\.",
)
def bought_together(books, chosen, said):
    found = counted_pairs(books, chosen)
    often = {pair: one for pair, one in found.items() if one[0] >= number(said["limit"])}
    assert [number(said["all"]), number(said["often"])] == [len(found), len(often)]
    if said["pair"]:
        orders, expected, squares = found[said["pair"]]
        assert number(said["orders"]) == orders and close(said["lift"], orders / expected)
        independent = orders**2 / squares
        z = (independent - independent * expected / orders) / np.sqrt(independent * expected / orders)
        assert z > 3.5, f"{z} standard errors above chance"
        assert number(said["low"]) <= orders / expected <= number(said["high"])
    # The number is between the clearly significant ones and those that are unlikely by chance.
    logs = [(log(n / expected) / np.sqrt(squares / n**2)) for n, expected, squares in often.values()]
    assert sum(z > 6 for z in logs) <= number(said["n"]) <= sum(z > 2.5 for z in logs)
    if "affinity" in books.absent:
        assert number(said["n"]) <= 1, said["n"]


@says("products", r"Pairs that are bought together more often than by chance: (?P<n>[\d,]+)")
def pairs_of_the_title(books, chosen, said):
    found = counted_pairs(books, chosen)
    often = [one for one in found.values() if one[0] >= max(chosen["orders_together"], 1)]
    logs = [(log(n / expected) / np.sqrt(squares / n**2)) for n, expected, squares in often]
    assert sum(z > 6 for z in logs) <= number(said["n"]) <= sum(z > 2.5 for z in logs)
    assert "affinity" not in books.absent or number(said["n"]) <= 1


@says("products", r"No pair can be told to be bought together more often than by chance")
def no_pair_is_told(books, chosen, said):
    found = counted_pairs(books, chosen)
    often = [one for one in found.values() if one[0] >= max(chosen["orders_together"], 1)]
    assert not any(log(n / expected) / np.sqrt(squares / n**2) > 6 for n, expected, squares in often)


@says("products", r"No pair of subcategories is in (?P<limit>[\d,]+) orders or more\.")
def no_pair(books, chosen, said):
    assert not any(one[0] >= number(said["limit"]) for one in counted_pairs(books, chosen).values())


# -- prices -----------------------------------------------------------------------------------------------------------


def panel(books: Books, chosen: dict) -> pd.DataFrame:
    """Product weeks of the period at the price valid on the Wednesday, with their units."""
    sales = lines(books, chosen)
    sales = sales[sales.ordered_at.notna()]
    when = pd.to_datetime(sales.ordered_at)
    begin, end = when.min().normalize(), when.max().normalize()
    begin = max(begin, pd.Timestamp(chosen["period_start"] or "1900-01-01"))
    if chosen["period_end"]:
        end = min(end, pd.Timestamp(chosen["period_end"]) + pd.offsets.MonthEnd(0))
    weeks = pd.date_range(begin, end - pd.Timedelta(days=6), freq="W-MON")
    versions = of_category(books.mart("dim_products_history"), chosen)
    versions = versions[~versions.is_unknown & (versions.current_price.astype(float) > 0)]
    rows = []
    for week in weeks:
        noon = week + pd.Timedelta(days=2, hours=12)
        at = versions[(versions.valid_from <= noon) & (versions.valid_to > noon)]
        at = at[(at.is_active.astype(object) != False) & ~(pd.to_datetime(at.launched_at) >= week)]  # noqa: E712
        rows.append(
            pd.DataFrame({"product_key": at.product_key, "week": week, "price": at.current_price.astype(float)})
        )
    if not rows:
        return pd.DataFrame({"product_key": [], "week": [], "price": [], "orders": [], "units": []})
    monday = when.dt.normalize() - pd.to_timedelta(when.dt.dayofweek, "D")
    sold = sales.assign(week=monday).groupby(["product_key", "week"])
    sold = sold.agg(units=("units", "sum"), orders=("order_key", "nunique"))
    frame = pd.concat(rows).merge(sold, left_on=["product_key", "week"], right_index=True, how="left")
    return frame.assign(**{what: frame[what].fillna(0).astype(float) for what in ("orders", "units")})


def elasticity_by_ratios(frame: pd.DataFrame, what: str) -> tuple[float, float]:
    """A cruder estimate than the notebook's: sales at lower prices over those expected from usual prices.

    What is expected is the product's own mean at the usual price, times how the week was for all at theirs. The error
    is a bootstrap over products.
    """
    usual = frame.groupby("product_key").price.transform("median")
    frame = frame.assign(
        sold=frame[what], relative=frame.price / usual, is_usual=(frame.price / usual - 1).abs() < 0.05
    )
    level = frame[frame.is_usual].groupby("product_key").sold.mean().rename("level")
    frame = frame.merge(level, left_on="product_key", right_index=True)
    at_usual = frame[frame.is_usual].groupby("week")[["sold", "level"]].sum()
    frame = frame.merge((at_usual.sold / at_usual.level).rename("of_week"), left_on="week", right_index=True)
    low = frame[frame.relative < 0.93].assign(expected=lambda part: part.level * part.of_week)
    low["weighted"] = low.expected * np.log(low.relative)
    sums = low.groupby("product_key")[["sold", "expected", "weighted"]].sum()
    drawn = np.random.default_rng(2).poisson(1.0, (200, len(sums))) @ sums.to_numpy()
    with np.errstate(all="ignore"):
        slopes = np.log(drawn[:, 0] / drawn[:, 1]) / (drawn[:, 2] / drawn[:, 1])
    total = sums.sum()
    return log(total.sold / total.expected) / (total.weighted / total.expected), float(np.nanstd(slopes))


MOVE = r"[−+][\d.]+%"
SIZE = r"[\d.]+%"


def kept_panel(books: Books, chosen: dict) -> pd.DataFrame:
    key = f"prices {chosen['category']} {chosen['period_start']} {chosen['period_end']}"
    return books.kept(key, lambda: panel(books, chosen))


OF_PRICE = (
    r", n = (?P<n>[\d,]+) products\)(?:; units, of which those who buy may take more: "
    rf"(?P<units>{MOVE}) \(95% interval (?P<units_low>{MOVE}) to (?P<units_high>{MOVE})\)\.)?"
)


@says(
    "products",
    rf"A 10% lower price brings (?P<orders>{SIZE}) (?P<told>more|fewer) orders "
    rf"\(95% interval (?P<low>{SIZE}) to (?P<high>{SIZE}){OF_PRICE}",
    rf"Whether a 10% lower price brings more orders cannot be told: (?P<orders>{MOVE}) "
    rf"\(95% interval (?P<low>{MOVE}) to (?P<high>{MOVE}){OF_PRICE}",
)
def effect_of_a_price(books, chosen, said):
    frame = kept_panel(books, chosen)
    assert frame.orders.sum() > 700
    sign = -1 if said.get("told") == "fewer" else 1
    for what in ("orders", "units"):
        if said[what]:
            crude, error = elasticity_by_ratios(frame, what)
            slope = log(1 + (sign if what == "orders" else 1) * number(said[what])) / log(0.9)
            assert abs(slope - crude) < 0.35 + 3 * error, f"of {what}, by ratios, it is {crude} ± {error}"
    low, high = number(said["low"]), number(said["high"])
    assert low <= number(said["orders"]) <= high
    assert low >= 0 if said.get("told") else low <= 0 <= high
    spans = frame.groupby("product_key").price.agg(lambda prices: prices.max() / prices.min())
    assert abs(number(said["n"]) - (spans > 1.01).sum()) <= 2 + 0.02 * len(spans), (spans > 1.01).sum()
    if said["units"]:
        assert number(said["units_low"]) <= number(said["units"]) <= number(said["units_high"])
    if "price" in books.absent:
        assert not said.get("told")


@says("products", r"The effect of a price is left out: no product changed its price\.?")
def no_price_changed(books, chosen, said):
    frame = kept_panel(books, chosen)
    spans = frame.groupby("product_key").price.agg(lambda prices: prices.max() / prices.min())
    assert not (spans > 1.02).any()


@says("products", r"The effect of a price: too few products or orders to tell it\.?")
def few_prices_changed(books, chosen, said):
    frame = kept_panel(books, chosen)
    spans = frame.groupby("product_key").price.agg(lambda prices: prices.max() / prices.min())
    assert (spans > 1.02).sum() < 32 or frame.orders.sum() < 900


# -- reviews ----------------------------------------------------------------------------------------------------------

REVIEWS = {
    "late orders": ("is_late", True), "orders on time": ("is_late", False),
    "lines sent back": ("is_returned", True), "lines kept": ("is_returned", False),
}  # fmt: skip


def reviews(books: Books, chosen: dict) -> pd.DataFrame:
    listed = of_category(books.mart("dim_products"), chosen)[["product_key"]]
    frame = books.mart("fct_customer_reviews").merge(listed, on="product_key")
    frame = frame[frame.review_score.notna()]
    orders = books.mart("fct_customer_orders")[["order_id", "is_late", "ordered_at"]]
    frame = frame.merge(orders, on="order_id", how="left")
    frame = in_period(frame, chosen)
    details = books.mart("fct_order_details")
    back = details.groupby(["order_id", "product_key"]).is_returned.any().rename("is_returned")
    frame = frame.merge(back, left_on=["order_id", "product_key"], right_index=True, how="left")
    return frame if details.returned_units.sum() else frame.assign(is_returned=None)


def stars_of(books: Books, chosen: dict, name: str) -> tuple:
    column, value = REVIEWS[name]
    frame = reviews(books, chosen)
    frame = frame[frame[column].astype(object) == value]
    return frame.review_score.astype(float), None, frame.customer_key


@says("products", rf"(?=Mean score){COMPARISON}")
def stars(books, chosen, said):
    one = said["one"] or said["same_one"] or said["few_one"]
    other = said["other"] or said["same_other"] or said["few_other"]
    if said["few_one"]:
        counts = [len(set(stars_of(books, chosen, name)[2])) for name in (one, other)]
        assert min(counts) < 30, f"there are {counts}"
        return
    check_comparison(said, *(stars_of(books, chosen, name) for name in (one, other)))
    if "late" in books.absent and one == "late orders":
        assert said["verdict"] is None


@says("products", r"(?P<told>Reviews of .+ are (?:higher|lower) than of .+)")
def stars_of_the_title(books, chosen, said):
    for part in said["told"].split("; "):
        one, _, rest = part.removeprefix("Reviews of ").partition(" are ")
        verdict, _, other = rest.partition(" than of ")
        first, second = (stars_of(books, chosen, name)[0].mean() for name in (one, other))
        assert first > second if verdict == "higher" else first < second
        assert not ("late" in books.absent and one == "late orders")


@says("products", r"No difference between reviews can be told")
def no_star_differs(books, chosen, said):
    assert len(reviews(books, chosen))


@says("products", r"There are no reviews to compare")
def no_reviews(books, chosen, said):
    frame = reviews(books, chosen)
    assert frame.is_late.isna().all() and frame.is_returned.isna().all()


@says("products", r"Reviews are not compared by (?P<what>promised deliveries|returns): none is known\.")
def not_compared(books, chosen, said):
    column = "is_late" if said["what"] == "promised deliveries" else "is_returned"
    assert reviews(books, chosen)[column].isna().all()


# -- stock ------------------------------------------------------------------------------------------------------------


def stock(books: Books, chosen: dict) -> pd.DataFrame:
    listed = of_category(books.mart("dim_products"), chosen)
    listed = listed[~listed.is_unknown][["product_key"]]
    frame = books.mart("fct_inventory_cover").merge(listed, on="product_key")
    return frame[(frame.is_active.astype(object) != False) & (frame.cover_status != "unknown")]  # noqa: E712


@says(
    "products", rf"(?P<share>{FIGURE}) of the (?P<what>money|units) in stock lies in what sells slowly or not at all\.?"
)
def idle(books, chosen, said):
    frame = stock(books, chosen)
    column = "stock_value" if said["what"] == "money" else "stock_quantity"
    slow = frame[frame.cover_status.isin(["ample", "not selling"])]
    assert close(said["share"], float(slow[column].sum()) / float(frame[column].sum()))
    if said["what"] == "units":
        assert frame.stock_value[frame.stock_quantity != 0].isna().any() or not frame.stock_value.sum()


@says("products", r"No stock is known\.?")
def no_stock(books, chosen, said):
    assert not stock(books, chosen).stock_quantity.sum() > 0


@says("products", r"Products out of stock: (?P<out>[\d,]+); with little left: (?P<low>[\d,]+)\.")
def short(books, chosen, said):
    status = stock(books, chosen).cover_status
    assert [number(said["out"]), number(said["low"])] == [(status == "out of stock").sum(), (status == "low").sum()]
