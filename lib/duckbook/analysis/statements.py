"""Statements about a sample: an estimate with its interval, a comparison of two groups, a ranking of several.

Totals of the whole shop, such as the revenue of a year, are facts and need no interval. Rates, means, effects and "the
best" are estimates from a sample, and are stated with interval and n, or as "no difference can be told" or "too few".
To compare several groups after looking at them, pass the number of comparisons as `tests`. Intervals are widened by it
(Bonferroni), so that the best of many is not best by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb, isfinite, nan, sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

LEVEL = 0.95
"""Confidence level of every interval."""

MIN_OBSERVATIONS = 30
"""Independent observations needed to treat a mean as normal; fewer are "too few"."""

MIN_AMOUNTS = 200
"""The same for amounts of money, where a few large ones cause most of the error."""

MIN_HITS = 5
"""Expected hits, and misses, that each group needs if all had the same share (Cochran, Biometrics 1954).

With fewer, one more hit makes a difference that looks certain: 2 of 50 against 8 of 1,900 is "too few".
"""

Verdict = Literal["higher", "lower", "no difference", "too few"]
Unit = Literal["share", "number", "money"]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes
    ----------
    value, low, high
        In the unit of the measure; nan without observations.
    n
        Independent observations; the number of clusters if rows are clustered.
    """

    value: float
    low: float
    high: float
    n: int

    def text(self, unit: Unit = "share", digits: int = 1) -> str:
        """The estimate in words: ``15.5% (95% interval 14.9% to 16.1%, n = 12,330)``."""
        low, high = format_value(self.low, unit, digits), format_value(self.high, unit, digits)
        return f"{format_value(self.value, unit, digits)} ({LEVEL:.0%} interval {low} to {high}, n = {self.n:,})"


@dataclass(frozen=True, eq=False)
class Group:
    """A group to compare: a name, and a numerator and denominator per row.

    The value of a group is the ratio of the two sums. A mean has a denominator of 1 in each row; conversion has
    visits as denominators and purchases as numerators.

    Parameters
    ----------
    clusters
        Cluster of each row, such as its customer; rows of a cluster are dependent. None: each row is its own cluster.
        Two groups may share clusters.
    """

    name: str
    numerator: Sequence[float] | np.ndarray
    denominator: Sequence[float] | np.ndarray | None = None
    clusters: Sequence[Any] | np.ndarray | None = None

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Numerators and denominators."""
        top = np.asarray(self.numerator, dtype=float)
        return top, np.ones(len(top)) if self.denominator is None else np.asarray(self.denominator, dtype=float)

    @cached_property
    def sums(self) -> tuple[float, float]:
        """The sums of numerators and denominators."""
        return float(self.rows[0].sum()), float(self.rows[1].sum())

    @cached_property
    def n(self) -> int:
        """Independent observations."""
        return len(self.numerator) if self.clusters is None else len(set(np.asarray(self.clusters).tolist()))

    @cached_property
    def is_counted(self) -> bool:
        """Whether the value is a share of counts, and not a ratio of amounts."""
        top, bottom = self.rows
        return bool(np.all(top == np.floor(top)) and np.all((top >= 0) & (top <= bottom)))

    @cached_property
    def design_effect(self) -> float:
        """Variance of a share relative to independent observations, at least 1 (Kish, Survey Sampling, 1965, ch. 5).

        If nothing varies, a cluster counts as one observation.
        """
        hits, n = self.sums
        if not 0 < hits < n or self.n < 2:
            return max(n / self.n, 1.0) if self.n else 1.0
        return max(_error([(1.0, self)]) ** 2 / (hits / n * (1 - hits / n) / n), 1.0)

    def influence(self) -> np.ndarray:
        """Contribution of each row to the error of the ratio (Cochran, Sampling Techniques, 1977, chapter 6)."""
        top, bottom = self.rows
        return (top - self.sums[0] / self.sums[1] * bottom) / self.sums[1]


@dataclass(frozen=True)
class Comparison:
    """Comparison of two groups: estimates, the difference first - second with its interval, and a verdict."""

    first: str
    second: str
    first_estimate: Estimate
    second_estimate: Estimate
    difference: Estimate
    verdict: Verdict
    unit: Unit = "share"

    @property
    def is_significant(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return self.verdict in ("higher", "lower")

    @property
    def ratio(self) -> float:
        """First value divided by the second; nan unless the second is positive."""
        return self.first_estimate.value / self.second_estimate.value if self.second_estimate.value > 0 else nan

    def text(self, what: str, digits: int = 1) -> str:
        """The comparison as a sentence without a full stop.

        Parameters
        ----------
        what
            The measure, as the subject of the sentence: "Conversion", "Mean score".
        """
        counts = f"n = {self.first_estimate.n:,} and {self.second_estimate.n:,}"
        if self.verdict == "too few":
            return f"{what}: too few to compare {self.first} with {self.second} ({counts})"
        both = f"{format_value(self.first_estimate.value, self.unit, digits)} for {self.first}, "
        both += f"{format_value(self.second_estimate.value, self.unit, digits)} for {self.second}"
        limits = [format_difference(limit, self.unit, digits) for limit in (self.difference.low, self.difference.high)]
        interval = f"{LEVEL:.0%} interval of the difference {limits[0]} to {limits[1]}, {counts}"
        if self.is_significant:
            return f"{what} is {self.verdict} for {self.first} than for {self.second}: {both} ({interval})"
        return f"{what}: no difference can be told between {self.first} and {self.second}: {both} ({interval})"


@dataclass(frozen=True)
class Ranking:
    """The best of several groups, and the groups that do not differ from it significantly.

    Attributes
    ----------
    best
        The group with the highest value, or the lowest if `lowest`; None if all groups are too small.
    rivals
        Groups whose difference from the best may be chance.
    left_out
        Groups that are too small to compare.
    """

    best: str | None
    estimates: dict[str, Estimate]
    rivals: tuple[str, ...]
    left_out: tuple[str, ...]
    unit: Unit = "share"
    lowest: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether the best differs significantly from every other group, of at least one."""
        return self.best is not None and not self.rivals and len(self.estimates) > 1

    def text(self, what: str, digits: int = 1) -> str:
        """The ranking as a sentence without a full stop; `what` is the measure: "Conversion"."""
        if not self.estimates and not self.left_out:
            return f"{what}: nothing to compare"
        if self.best is None or (len(self.estimates) == 1 and self.left_out):
            return f"{what}: too few to compare {_listed((*self.estimates, *self.left_out))}"
        figure = self.estimates[self.best].text(self.unit, digits)
        aside = f"; too few to take part: {_listed(self.left_out)}" if self.left_out else ""
        if len(self.estimates) == 1:
            return f"{what} of {self.best}: {figure}"
        most = "lowest" if self.lowest else "highest"
        if self.is_clear:
            return f"{what} is {most} for {self.best}: {figure}{aside}"
        is_any = len(self.estimates) > 4 and len(self.rivals) == len(self.estimates) - 1
        rivals = f"any of {len(self.estimates)}" if is_any else _listed((self.best, *self.rivals))
        return f"{what}: which is {most} cannot be told between {rivals}{aside}"


def share(hits: float, n: float, *, tests: int = 1) -> Estimate:
    """Estimate a share of independent observations, with Wilson's interval (JASA 1927)."""
    if n <= 0:
        return Estimate(nan, nan, nan, 0)
    width = z(tests)
    middle, half = hits + width**2 / 2, width * sqrt(hits * (n - hits) / n + width**2 / 4)
    return Estimate(hits / n, (middle - half) / (n + width**2), (middle + half) / (n + width**2), round(n))


def estimate(group: Group, *, unit: Unit = "number", tests: int = 1) -> Estimate:
    """Estimate the value of a group, a mean or a ratio of sums, with standard errors clustered by `Group.clusters`.

    A share of counts has Wilson's interval at its effective n, which is valid for shares of 0 and 1 too.
    """
    if not group.n or group.sums[1] == 0:
        return Estimate(nan, nan, nan, group.n)
    if unit == "share" and group.is_counted:
        hits, n = group.sums
        effective = share(hits / group.design_effect, n / group.design_effect, tests=tests)
        return replace(effective, n=group.n)
    value = group.sums[0] / group.sums[1]
    half = z(tests) * _error([(1.0, group)])
    return Estimate(value, value - half, value + half, group.n)


def compare_shares(first: tuple[str, float, float], second: tuple[str, float, float], *, tests: int = 1) -> Comparison:
    """Compare two shares of independent observations, each a name, hits and n.

    If several rows belong to one customer, use `compare` with clusters.
    """
    one, other = (share(hits, n, tests=tests) for _, hits, n in (first, second))
    is_enough = min(first[2], second[2]) >= MIN_OBSERVATIONS
    is_enough = is_enough and have_enough_hits((*first[1:], 1.0), (*second[1:], 1.0))
    difference = _difference(one, other)
    return Comparison(first[0], second[0], one, other, difference, verdict(difference, is_enough))


def compare(
    first: Group, second: Group, *, unit: Unit = "number", tests: int = 1, enough: int | None = None
) -> Comparison:
    """Compare the values of two groups, with clustered standard errors.

    Parameters
    ----------
    unit
        Unit of the values. A ``share`` of counts also needs enough hits and misses, and is compared by Newcombe's
        interval at the effective n.
    enough
        Independent observations that each group needs. Default: `MIN_OBSERVATIONS`, for money `MIN_AMOUNTS`.
    """
    a, b = (estimate(group, unit=unit, tests=tests) for group in (first, second))
    is_enough = min(first.n, second.n) >= _enough(unit, enough) and min(first.sums[1], second.sums[1]) > 0
    if not is_enough:
        unknown = Estimate(a.value - b.value, nan, nan, first.n + second.n)
        return Comparison(first.name, second.name, a, b, unknown, "too few", unit)
    error = _error([(1.0, first), (-1.0, second)])
    if unit == "share" and first.is_counted and second.is_counted:
        is_enough = have_enough_hits(
            *((group.sums[0], group.sums[1], group.design_effect) for group in (first, second))
        )
        independent_error = sqrt(_error([(1.0, first)]) ** 2 + _error([(1.0, second)]) ** 2)
        # Customers who are in both groups make the two shares correlated.
        difference = _difference(a, b, error / independent_error if independent_error else 1.0)
    else:
        gap, half = a.value - b.value, z(tests) * error
        difference = Estimate(gap, gap - half, gap + half, first.n + second.n)
    return Comparison(first.name, second.name, a, b, difference, verdict(difference, is_enough), unit)


def _difference(a: Estimate, b: Estimate, factor: float = 1.0) -> Estimate:
    """Difference of two shares, by Newcombe's hybrid score interval (Statistics in Medicine 1998, method 10).

    It is valid for small shares too; `factor` scales it if the two are correlated.
    """
    gap = a.value - b.value
    low = gap - factor * sqrt((a.value - a.low) ** 2 + (b.high - b.value) ** 2)
    high = gap + factor * sqrt((a.high - a.value) ** 2 + (b.value - b.low) ** 2)
    return Estimate(gap, low, high, a.n + b.n)


def rank(groups: Sequence[Group], *, unit: Unit = "number", lowest: bool = False, enough: int | None = None) -> Ranking:
    """Rank several groups, corrected for all pairs that might be compared.

    Raises
    ------
    ValueError
        Two groups have the same name.
    """
    if len({group.name for group in groups}) < len(groups):
        raise ValueError(f"Two groups have the same name: {[group.name for group in groups]}.")
    is_large = {group.name: group.n >= _enough(unit, enough) and group.sums[1] > 0 for group in groups}
    large = [group for group in groups if is_large[group.name]]
    left_out = tuple(name for name, is_enough in is_large.items() if not is_enough)
    if not large:
        return Ranking(None, {}, (), left_out, unit, lowest)
    estimates = {group.name: estimate(group, unit=unit) for group in large}
    by_value = sorted(large, key=lambda group: (estimates[group.name].value * (1 if lowest else -1), group.name))
    best, tests = by_value[0], max(comb(len(large), 2), 1)
    compared = [(group.name, compare(best, group, unit=unit, tests=tests, enough=enough)) for group in by_value[1:]]
    rivals = tuple(name for name, comparison in compared if not comparison.is_significant)
    return Ranking(best.name, estimates, rivals, left_out, unit, lowest)


def format_value(value: float, unit: Unit = "share", digits: int = 1) -> str:
    """Format a value: ``15.5%``, ``4.2``, ``$1,234.50``; an en dash for nan."""
    if not isfinite(value):
        return "–"
    size = _size(value, unit, digits)
    return f"−{size}" if value < 0 and any(digit in size for digit in "123456789") else size


def format_difference(value: float, unit: Unit = "share", digits: int = 1) -> str:
    """Format a difference: ``+1.2 points``, ``−0.4``, ``+$3.10``, ``0.0``."""
    if not isfinite(value):
        return "–"
    size = _size(value, unit, digits)
    sign = ("−" if value < 0 else "+") if any(digit in size for digit in "123456789") else ""
    return f"{sign}{size.removesuffix('%')} points" if unit == "share" else f"{sign}{size}"


def _size(value: float, unit: Unit, digits: int) -> str:
    if unit == "share":
        return f"{100 * abs(value):,.{digits}f}%"
    return f"${abs(value):,.2f}" if unit == "money" else f"{abs(value):,.{digits}f}"


def _error(weighted: Sequence[tuple[float, Group]]) -> float:
    """Standard error of a weighted sum of group values, by linearization; clusters may span groups."""
    influences = [(weight * group.influence(), group.clusters) for weight, group in weighted]
    independent: list[np.ndarray] = [influence for influence, clusters in influences if clusters is None]
    clustered = [(influence, np.asarray(clusters)) for influence, clusters in influences if clusters is not None]
    if clustered:
        _, codes = np.unique(np.concatenate([clusters for _, clusters in clustered]), return_inverse=True)
        independent.append(np.bincount(codes, np.concatenate([influence for influence, _ in clustered])))
    parts = np.concatenate(independent)
    return sqrt(len(parts) / (len(parts) - 1) * float(parts @ parts)) if len(parts) > 1 else nan


def verdict(difference: Estimate, enough: bool) -> Verdict:
    """Verdict from the interval of a difference, given whether there are enough observations."""
    if not enough or not isfinite(difference.low) or not isfinite(difference.high):
        return "too few"
    if difference.low > 0:
        return "higher"
    return "lower" if difference.high < 0 else "no difference"


def _enough(unit: Unit, enough: int | None) -> int:
    return enough if enough is not None else MIN_AMOUNTS if unit == "money" else MIN_OBSERVATIONS


def have_enough_hits(*groups: tuple[float, float, float], enough: int = MIN_HITS) -> bool:
    """Whether all groups (hits, n, design effect) would have enough hits and misses at the pooled share."""
    hits, n = (sum(group[place] for group in groups) for place in (0, 1))
    return min(hits, n - hits) / n * min(group[1] / group[2] for group in groups) >= enough


def z(tests: int = 1) -> float:
    """Half the width of an interval in standard errors, for this many simultaneous tests (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / max(tests, 1))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
