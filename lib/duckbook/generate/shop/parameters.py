"""Planted parameters: every assumption of the shop, with its source.

The shop is modelled on a general online retailer in the USA that sells in USD to customers who sign in, with returns
and reviews. Published figures disagree: at RetailRocket, which counts anonymous visitors, 0.8 % of views end in a
purchase; at UCI's shop 15.5 % of sessions do. Each field names the source that it follows.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from duckbook.errors import SettingError


@dataclass(frozen=True)
class Parameters:
    """Planted parameters. Rates are per week of operational time unless stated otherwise; money is in USD.

    Operational time is calendar time without the season: a week of it passes faster in November than in February
    (`duckbook.generate.shop.season`). The docstrings of the fields are part of the truth table.
    """

    # -- acquisition ------------------------------------------------------------------------------------------------
    yearly_growth: float = 0.25
    """Growth of sign-ups per year, as a factor exp(0.25) = 1.28. Young retailers outgrow the 8 to 15 % per year of US
    e-commerce as a whole (US Census Bureau, Quarterly Retail E-Commerce Sales, 2015-2024). First orders grow with
    sign-ups. Repeat orders grow faster in the years after the opening, as returning customers accumulate: sales of
    the third year are about 1.45 times those of the second."""
    share_ever_buying: float = 0.86
    """Share of sign-ups that ever buy; the others only wanted the newsletter. Assumption."""
    share_first_at_signup: float = 0.65
    """Share of buyers whose first purchase is in the visit in which they sign up. Most accounts are created during
    checkout (Baymard Institute, Checkout Usability); the size is an assumption."""
    first_purchase_weeks: float = 4.0
    """Mean weeks from sign-up to first purchase for the other buyers. Assumption."""

    # -- repeat purchases: BG/NBD -----------------------------------------------------------------------------------
    bgnbd_r: float = 0.243
    """Shape of the gamma-distributed purchase rate; CDNOW 0.243 (Fader, Hardie and Lee, "Counting Your Customers
    the Easy Way", Marketing Science 2005)."""
    bgnbd_alpha: float = 10.0
    """Rate parameter of the same gamma, in weeks; CDNOW 4.414, because people buy compact discs more often. Set so
    that customers place about 1.6 orders."""
    bgnbd_a: float = 0.793
    """First parameter of the beta-distributed drop-out probability; CDNOW 0.793."""
    bgnbd_b: float = 2.426
    """Second parameter of the same beta; CDNOW 2.426. A customer may drop out after each repeat purchase."""

    # -- experiment: reminder emails --------------------------------------------------------------------------------
    experiment_share: float = 0.5
    """Share of the participants of the experiment who are treated, drawn at random (`shop.experiment`)."""
    experiment_uplift: float = 0.0
    """Relative increase of the treated customers' rate of repeat orders during the experiment: 0.3 is 30 % more.
    Zero by default, so that an effect that an analysis finds is a false one."""

    # -- spend per order: gamma-gamma -------------------------------------------------------------------------------
    spend_p: float = 6.25
    """Shape of the spend of one order around the customer's mean; CDNOW 6.25 (Fader and Hardie, "The Gamma-Gamma Model
    of Monetary Value", 2013)."""
    spend_q: float = 2.8
    """Shape of the scale of each customer; CDNOW 3.74. Lower here, because a general shop has a wider range of prices,
    so customers differ more."""
    spend_mean: float = 92.0
    """Mean value of an order before discounts. The average order in US online retail is 80 to 120 USD (Dynamic Yield,
    eCommerce benchmarks); CDNOW's 35 USD are for compact discs."""
    spend_income_correlation: float = 0.35
    """Correlation of a customer's mean spend with the part of income that education and age do not explain, both as
    normal scores. With income as a whole it is about 0.25. Assumption."""
    income_by_education: tuple[float, ...] = (0.77, 0.85, 1.28, 1.48, 1.80)
    """Income by education relative to the mean, from high school to doctorate: 899, 992, 1,493, 1,737 and 2,109 of
    1,170 USD a week (Bureau of Labor Statistics, Education Pays 2023, from the Current Population Survey)."""
    income_by_age: tuple[float, ...] = (0.68, 1.06, 1.26, 1.37, 1.12, 0.68)
    """Income relative to the mean at 20, 30, 40, 50, 60 and 72 years: medians of households of 54,930 to 110,700 USD,
    of 80,610 in all (US Census Bureau, Income in the United States 2023, Current Population Survey, P60-282)."""
    rate_age_correlation: float = -0.12
    """Correlation of age with the purchase rate, both as normal scores: younger customers order more often.
    Assumption."""

    # -- products ---------------------------------------------------------------------------------------------------
    popularity_exponent: float = 0.85
    """Exponent of Zipf's law for sales within a category; 0.87 for books at Amazon (Brynjolfsson, Hu and Smith,
    Management Science 2003)."""
    elasticity_mean: float = -2.62
    """Mean price elasticity (Bijmolt, van Heerde and Pieters, Journal of Marketing Research 2005: -2.62 over 1,851
    estimates)."""
    elasticity_sd: float = 0.7
    """Standard deviation of the price elasticity between products; 2.2 between studies of different goods in the same
    meta-analysis. Assumption."""
    share_launched_later: float = 0.4
    """Share of the products at the end of the history that were launched after the opening. Assumption."""
    share_discontinued: float = 0.3
    """Share of products that are discontinued some time after their launch. Assumption."""
    promotion_share: float = 0.11
    """Share of product weeks with a reduced price outside the seasons of sales. Assumption."""

    # -- baskets ----------------------------------------------------------------------------------------------------
    lines: tuple[float, ...] = (0.50, 0.24, 0.12, 0.06, 0.04, 0.025, 0.015)
    """Probabilities of 1, 2, … lines in an order: two on average. Assumption."""
    partner_share: float = 0.45
    """Probability that a further line comes from a subcategory that is often bought with that of the first line.
    Assumption."""
    favourite_share: float = 0.35
    """Probability that the first line comes from the customer's favourite category. Assumption."""
    coupon_share: float = 0.16
    """Share of orders with a coupon for the whole order. Assumption."""
    free_shipping_from: float = 60.0
    """Value of goods from which standard shipping is free. Assumption."""

    # -- funnel -----------------------------------------------------------------------------------------------------
    visits_weekly: float = 0.097
    """Mean visits without a purchase per week, of a buyer who has not dropped out. A buyer's visits are proportional to
    the buyer's orders, so that conversion is the same in each year of the shop. This and the next two parameters are
    set so that 15.5 % of sessions end in a purchase (Sakar et al., "Online Shoppers Purchasing Intention", UCI 2018:
    1,908 of 12,330)."""
    signup_visits: float = 4.6
    """Mean visits without a purchase after a sign-up, whether or not the customer ever buys. See `visits_weekly`."""
    interest_weeks: float = 3.0
    """Mean weeks during which visits continue after a sign-up, and after a customer has dropped out. Assumption. The
    longer they continue, the longer conversion falls after the opening."""
    visits_after_dropout: float = 0.45
    """Visits of a customer who has just dropped out, relative to before. Assumption."""
    research_visits: tuple[float, ...] = (0.40, 0.27, 0.18, 0.10, 0.05)
    """Probabilities of 0, 1, … visits in the week before an order that view the products of the order. Assumption."""
    abandoned_cart_share: float = 0.43
    """Share of visits without a purchase that add a product to the cart. Set so that 70 % of carts are abandoned
    (Baymard Institute, mean of 50 studies, 2025: 70.2 %)."""
    device_shares: tuple[float, float, float] = (0.38, 0.56, 0.06)
    """Shares of visits from desktop, mobile and tablet (Statista, US online retail 2023-2024). The sizes are
    assumptions."""
    device_conversion: tuple[float, float, float] = (1.45, 0.70, 0.95)
    """Conversion by device relative to the mean: desktop converts about twice as well as mobile (Monetate, Ecommerce
    Quarterly)."""

    # -- fulfilment -------------------------------------------------------------------------------------------------
    cancelled_share: float = 0.035
    """Share of orders that are cancelled before dispatch. Assumption."""
    transit_days: float = 2.6
    """Median days from dispatch to delivery by standard shipping. Assumption."""
    transit_sigma: float = 0.40
    """Standard deviation of the logarithm of the days in transit within one zone. Set so that about 8 % are late (Olist
    2016-2018: 8.1 %)."""
    transit_zone_effect: float = 0.12
    """Growth of the logarithm of the days in transit per zone that a parcel crosses; 0 if distance has no effect.
    Carriers take 1 day to zone 2 and 5 to zone 8 by ground (UPS, Ground Time-in-Transit Maps), which would be 0.27.
    Lower here, because a state has only one zone. The size is an assumption."""
    return_scale: float = 1.06
    """Factor that multiplies the categories' return rates; together they average about 17.6 % of sales (NRF and
    Appriss Retail, 2023 Consumer Returns in the Retail Industry, online sales)."""

    # -- reviews ----------------------------------------------------------------------------------------------------
    reviewed_share: float = 0.13
    """Share of delivered lines that are reviewed. Assumption; shops report 5 to 15 %."""
    unhappy_on_time: float = 0.095
    """Probability that a line of average quality disappoints although delivered on time. With the two distributions of
    scores below, it gives 4.28 stars on time and 2.55 late (Olist), and the J shape of Hu, Pavlou and Zhang (CACM
    2009)."""
    unhappy_late: float = 0.70
    """Probability that a line of average quality disappoints when delivered late. See `unhappy_on_time`."""
    happy_scores: tuple[float, ...] = (0.0, 0.01, 0.05, 0.23, 0.71)
    """Probabilities of 1 to 5 stars from a satisfied customer."""
    unhappy_scores: tuple[float, ...] = (0.70, 0.17, 0.10, 0.03, 0.0)
    """Probabilities of 1 to 5 stars from a disappointed customer."""
    review_mixed_share: float = 0.20
    """Share of texts, except those with three stars, that both praise and complain. Assumption."""
    review_neutral_share: float = 0.06
    """Share of texts, except those with three stars, that neither praise nor complain. Assumption."""
    review_contradicting_share: float = 0.04
    """Share of texts that praise with one or two stars, or complain with four or five. Stars and text disagree in some
    reviews (Valdivia, Luzon and Herrera, "Sentiment Analysis in TripAdvisor", IEEE Intelligent Systems 2017); the size
    is an assumption."""
    review_typo_share: float = 0.12
    """Share of texts with a typo or without capital letters. Assumption."""

    # -- slow change: events per year ---------------------------------------------------------------------------------
    moves_yearly: float = 0.085
    """Moves per year (US Census Bureau, Geographic Mobility 2022: 8.7 %)."""
    marital_yearly: float = 0.03
    """Changes of marital status per year. Assumption, from about 6 marriages and 2.4 divorces per 1,000 people per year
    (CDC/NCHS), with more among adults who shop."""
    channel_yearly: float = 0.10
    """Changes of the preferred channel per year. Assumption."""
    income_yearly: float = 0.45
    """Changes of income per year, usually a rise. Assumption."""
    closed_yearly: float = 0.25
    """Accounts closed per year, of customers who have dropped out. Assumption."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = _bounds(field.name)
            if isinstance(value, (int, float)) and not low <= value <= high:
                raise SettingError(f"DUCKBOOK_PLANTED: {field.name}={value} must lie between {low} and {high}.")

    def rows(self) -> list[dict[str, str]]:
        """List name, value and meaning of every parameter for the truth table."""
        meaning = _meanings()
        return [
            {"parameter": field.name, "value": str(getattr(self, field.name)), "meaning": meaning[field.name]}
            for field in fields(self)
        ]


def planting(changes: str) -> Parameters:
    """Parse changes of planted parameters, such as ``"bgnbd_r=0.3 spend_mean=60"``.

    Raises
    ------
    SettingError
        A parameter is unknown, or its value is not a number in its range.
    """
    known = [field.name for field in fields(Parameters) if isinstance(field.default, float)]
    values: dict[str, Any] = {}
    for name, _, number in (change.partition("=") for change in changes.split()):
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]*)?", number):
            raise SettingError(f"DUCKBOOK_PLANTED: {name}={number} is not NAME=NUMBER, such as bgnbd_r=0.3.")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "duckbook.generate.shop.parameters lists them all."
            raise SettingError(f"DUCKBOOK_PLANTED: there is no planted number {name}; {hint}")
        values[name] = float(number)
    return Parameters(**values)


def _meanings() -> dict[str, str]:
    """Docstring of each field of `Parameters`."""
    return {
        ast.unparse(field.target): " ".join(str(ast.literal_eval(text.value)).split())
        for definition in ast.parse(inspect.getsource(Parameters)).body
        if isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def _bounds(name: str) -> tuple[float, float]:
    """Smallest and largest value of a planted parameter."""
    if "correlation" in name:
        return -0.9, 0.9
    if "share" in name or name.startswith("unhappy"):
        return 0.0, 1.0
    if name == "elasticity_mean":
        return -10.0, 0.0
    factors = {"yearly_growth", "elasticity_sd", "visits_after_dropout", "experiment_uplift", "transit_zone_effect"}
    if name in factors or name.endswith("_yearly"):
        return 0.0, 5.0
    # The mean of a gamma-gamma needs a shape above 1. The others are shapes, rates, weeks, days and USD.
    return (1.01 if name == "spend_q" else 0.001), 10_000.0
