"""Statements about a sample: correct intervals, no false differences, and no best of many by chance."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
from duckbook.analysis import statements
from duckbook.analysis.statements import Estimate, Group
from hypothesis import given
from hypothesis import strategies as st


def test_the_interval_of_a_share_is_wilsons():
    """Newcombe, Statistics in Medicine 1998, table I: 81 of 263 is 0.2553 to 0.3662."""
    found = statements.share(81, 263)
    assert (found.value, found.n) == (pytest.approx(81 / 263), 263)
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert isnan(statements.share(0, 0).value)


def test_the_interval_of_a_difference_of_shares_is_newcombes():
    """Newcombe, Statistics in Medicine 1998, table II, method 10: 56/70 - 48/80 is 0.0524 to 0.3339."""
    found = statements.compare_shares(("this", 56, 70), ("that", 48, 80))
    assert found.difference.low == pytest.approx(0.0524, abs=5e-5)
    assert found.difference.high == pytest.approx(0.3339, abs=5e-5)
    assert (found.verdict, found.is_significant, found.ratio) == ("higher", True, pytest.approx(0.8 / 0.6))


@given(st.integers(0, 400), st.integers(1, 400), st.integers(0, 400), st.integers(1, 400))
def test_swapping_the_groups_reverses_the_comparison(hits, n, other_hits, other_n):
    this, that = ("this", min(hits, n), n), ("that", min(other_hits, other_n), other_n)
    one, other = statements.compare_shares(this, that), statements.compare_shares(that, this)
    reversed_verdict = {"higher": "lower", "lower": "higher"}
    assert other.verdict == reversed_verdict.get(one.verdict, one.verdict)
    assert one.difference.low == pytest.approx(-other.difference.high)


def test_a_mean_has_the_error_of_a_mean():
    values = np.random.default_rng(3).normal(10, 2, 500)
    found = statements.estimate(Group("all", values))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(1.959964 * values.std(ddof=1) / sqrt(500), rel=1e-6)


def test_rows_of_one_customer_are_one_observation():
    """Repeating each row ten times does not change the interval."""
    draw = np.random.default_rng(5)
    value, customer = draw.normal(0, 1, 200), np.arange(200)
    once = statements.estimate(Group("once", value))
    often = statements.estimate(Group("often", np.repeat(value, 10), clusters=np.repeat(customer, 10)))
    assert (often.low, often.high, often.n) == (pytest.approx(once.low), pytest.approx(once.high), 200)


def test_groups_with_the_same_customers_are_compared_within_customers():
    """Two measurements of the same customers that differ by a constant have no error."""
    value, customer = np.random.default_rng(8).normal(0, 5, 300), np.arange(300)
    found = statements.compare(
        Group("after", value + 0.1, clusters=customer), Group("before", value, clusters=customer)
    )
    assert found.difference.value == pytest.approx(0.1)
    assert found.difference.high - found.difference.low < 1e-9
    unpaired = statements.compare(Group("after", value + 0.1), Group("before", value))
    assert unpaired.verdict == "no difference"


def test_a_ratio_of_sums_is_not_a_mean_of_ratios():
    found = statements.estimate(Group("visits", [1, 90], [1, 100]))
    assert found.value == pytest.approx(91 / 101)


@pytest.mark.parametrize(("tests", "limit"), [(1, 0.085), (10, 0.02)])
def test_equal_groups_rarely_differ_significantly(tests, limit):
    draw, significant = np.random.default_rng(11), 0
    for _ in range(600):
        one, other = draw.exponential(1, 80), draw.exponential(1, 80)
        significant += statements.compare(Group("one", one), Group("other", other), tests=tests).is_significant
    assert significant / 600 < limit


@pytest.mark.parametrize(
    ("sizes", "rate"), [((30, 400), 0.05), ((40, 400), 0.05), ((60, 1000), 0.03), ((100, 1000), 0.5)]
)
def test_equal_small_shares_rarely_differ_significantly(sizes, rate):
    draw, significant = np.random.default_rng(13), 0
    for _ in range(1000):
        one, other = (Group(str(n), (draw.random(n) < rate).astype(float)) for n in sizes)
        significant += statements.compare(one, other, unit="share").is_significant
    assert significant / 1000 < 0.075


def test_a_rare_hit_in_a_small_group_is_not_significant():
    draw = np.random.default_rng(43)
    hits, others = draw.binomial(30, 0.01, 4000), draw.binomial(2000, 0.01, 4000)
    significant = sum(
        statements.compare_shares(("a", hit, 30), ("b", other, 2000), tests=6).is_significant
        for hit, other in zip(hits, others, strict=True)
    )
    assert significant / 4000 < 0.05 / 6
    assert statements.compare_shares(("debit", 2, 50), ("credit", 8, 1933), tests=6).verdict == "too few"
    assert statements.compare_shares(("debit", 20, 200), ("credit", 100, 4000), tests=6).verdict == "higher"


def test_shares_of_independent_rows_are_compared_like_counts():
    one, other = (Group(name, [1.0] * hits + [0.0] * (n - hits)) for name, hits, n in (("a", 4, 40), ("b", 26, 160)))
    found = statements.compare(one, other, unit="share")
    known = statements.compare_shares(("a", 4, 40), ("b", 26, 160))
    assert found.verdict == known.verdict == "no difference"
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (known.difference.low, known.difference.high), abs=0.001
    )
    assert statements.estimate(Group("all", [1.0] * 40), unit="share").low < 0.95


def test_customers_in_both_groups_change_the_interval_of_a_difference():
    """The same customers twice, most with the same outcome: most of the error cancels."""
    draw = np.random.default_rng(29)
    before = (draw.random(400) < 0.5).astype(float)
    after = np.where(draw.random(400) < 0.05, 1.0, before)
    same, others = np.arange(400), np.arange(400, 800)
    paired = statements.compare(Group("a", after, clusters=same), Group("b", before, clusters=same), unit="share")
    unpaired = statements.compare(Group("a", after, clusters=same), Group("b", before, clusters=others), unit="share")
    assert paired.difference.high - paired.difference.low < 0.5 * (unpaired.difference.high - unpaired.difference.low)


def test_a_ratio_of_amounts_is_not_a_share_of_counts():
    draw = np.random.default_rng(31)
    margins = [Group(name, draw.normal(mean, 1, 100), np.full(100, 10.0)) for name, mean in (("loss", -2), ("gain", 1))]
    assert statements.compare(*margins, unit="share").verdict == "lower"


def test_few_skewed_amounts_are_not_compared():
    draw = np.random.default_rng(37)
    few = Group("few", draw.lognormal(3, 1.2, 199))
    many = Group("many", draw.lognormal(3, 1.2, 1000))
    assert statements.compare(few, many, unit="money").verdict == "too few"
    significant = sum(
        statements.compare(
            Group("few", draw.lognormal(3, 1.2, 200)), Group("many", draw.lognormal(3, 1.2, 1000)), unit="money"
        ).is_significant
        for _ in range(500)
    )
    assert significant / 500 < 0.1


def test_two_groups_of_the_same_name_are_refused():
    with pytest.raises(ValueError, match="have the same name"):
        statements.rank([Group("a", [1.0] * 40), Group("a", [1.0])])


def test_zero_has_no_sign():
    assert statements.format_value(-1e-5) == "0.0%"
    assert statements.format_difference(-1e-5) == "0.0 points"
    assert statements.format_difference(-0.001, "money") == "$0.00"


def test_equal_groups_rarely_have_a_clear_best():
    draw, named = np.random.default_rng(17), 0
    for _ in range(300):
        groups = [Group(str(n), (draw.random(200) < 0.15).astype(float)) for n in range(6)]
        named += statements.rank(groups, unit="share").is_clear
    assert named / 300 < 0.03


def test_the_best_is_clear_if_far_ahead_and_otherwise_has_rivals():
    draw = np.random.default_rng(19)
    rates = {"search": 0.5, "social": 0.2, "email": 0.2, "tiny": 0.9}
    sizes = {"tiny": 12}
    groups = [Group(name, (draw.random(sizes.get(name, 900)) < rate).astype(float)) for name, rate in rates.items()]
    found = statements.rank(groups, unit="share")
    assert (found.best, found.is_clear, found.left_out) == ("search", True, ("tiny",))
    assert found.text("Conversion").startswith("Conversion is highest for search: ")
    lowest = statements.rank(groups, unit="share", lowest=True)
    assert {lowest.best, *lowest.rivals} == {"social", "email"}
    assert lowest.text("Conversion").startswith("Conversion: which is lowest cannot be told between ")


def test_too_few_observations_are_reported():
    few = statements.compare(Group("late", [1.0] * 29), Group("in time", [2.0] * 500))
    assert few.text("Mean score") == "Mean score: too few to compare late with in time (n = 29 and 500)"
    hits = statements.compare_shares(("mobile", 5, 400), ("desktop", 4, 400))
    assert hits.verdict == "too few"
    assert statements.rank([Group("a", [1.0]), Group("b", [])]).text("X") == "X: too few to compare a and b"
    assert statements.rank([]).text("X") == "X: nothing to compare"
    alone = statements.rank([Group("a", [1.0, 2.0] * 20), Group("b", [1.0])])
    assert alone.text("X") == "X: too few to compare a and b"


def test_a_ranking_without_any_clear_best_has_a_short_sentence():
    draw = np.random.default_rng(4)
    groups = [Group(str(n), draw.normal(0, 1, 50)) for n in range(6)]
    assert statements.rank(groups).text("X") == "X: which is highest cannot be told between any of 6"


def test_rivals_of_the_best_may_differ_from_each_other():
    """A small group leads; the two behind it differ significantly."""
    groups = [Group("small", [0.0, 6.2] * 16), Group("good", [2.9, 3.1] * 200), Group("bad", [1.9, 2.1] * 200)]
    assert statements.rank(groups).text("X") == "X: which is highest cannot be told between small, good and bad"
    assert statements.compare(groups[1], groups[2]).is_significant


def test_sentences_are_complete():
    comparison = statements.compare_shares(("desktop", 300, 1000), ("mobile", 1500, 10_000))
    assert comparison.text("Conversion") == (
        "Conversion is higher for desktop than for mobile: 30.0% for desktop, 15.0% for mobile (95% interval of the "
        "difference +12.1 points to +18.0 points, n = 1,000 and 10,000)"
    )
    assert statements.format_value(-1234.5, "money") == "−$1,234.50"
    assert statements.format_value(float("nan")) == "–"
    assert statements.format_difference(-0.25, "number", 2) == "−0.25"
    assert Estimate(0.155, 0.149, 0.161, 12_330).text() == "15.5% (95% interval 14.9% to 16.1%, n = 12,330)"
