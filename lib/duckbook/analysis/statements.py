"""Statements about a sample: an estimate with its interval, a difference that can be told or not, the best of several.

What is counted of the whole shop, such as the revenue of a year, is a fact and needs none of this. A rate, a mean, an
effect or "the best" is read off a sample of what might have happened, and is stated here with its interval and n, or as
"no difference can be told", or as "too few". Whoever compares several things after looking passes their number as
`tests`: intervals are widened by it (Bonferroni), so that the best of many is not best by chance.
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
"""Of every interval, unless a call asks for another one."""

ENOUGH = 30
"""Independent observations from which on a mean is taken to be normal; fewer are "too few"."""

ENOUGH_AMOUNTS = 200
"""The same of amounts of money, of which a few large ones make most of the error."""

ENOUGH_HITS = 5
"""Shares need groups that would have so many hits, and so many misses, if all had one share (Cochran, Biometrics 1954).

Of fewer a single hit more is a difference that looks certain: 2 of 50 next to 8 of 1,900 are "too few".
"""

Verdict = Literal["higher", "lower", "no difference", "too few"]
Unit = Literal["share", "number", "money"]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes
    ----------
    value, low, high
        In the unit of what was measured; nan where there is nothing to measure.
    n
        Independent observations: clusters, where rows belong to some.
    """

    value: float
    low: float
    high: float
    n: int

    def text(self, unit: Unit = "share", digits: int = 1) -> str:
        """The estimate in words: ``15.5% (95% interval 14.9% to 16.1%, n = 12,330)``."""
        low, high = shown(self.low, unit, digits), shown(self.high, unit, digits)
        return f"{shown(self.value, unit, digits)} ({LEVEL:.0%} interval {low} to {high}, n = {self.n:,})"


@dataclass(frozen=True, eq=False)
class Group:
    """What is compared: a name, and for each row a numerator and a denominator.

    The figure of a group is the ratio of the two sums. A mean has a denominator of 1 in each row, a share of visits
    that buy has visits as denominators and purchases as numerators.

    Parameters
    ----------
    clusters
        What each row belongs to, such as its customer; rows of one cluster depend on each other. None: every row is
        its own. Two groups may share clusters.
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
        """Whether the figure is a share of things that were counted, and no ratio of amounts."""
        top, bottom = self.rows
        return bool(np.all(top == np.floor(top)) and np.all((top >= 0) & (top <= bottom)))

    @cached_property
    def design_effect(self) -> float:
        """How many times the variance of a share is what it were if all that is counted were independent.

        Kish, Survey Sampling, 1965, chapter 5; at least 1. Where nothing varies a cluster counts as one.
        """
        hits, n = self.sums
        if not 0 < hits < n or self.n < 2:
            return max(n / self.n, 1.0) if self.n else 1.0
        return max(_error([(1.0, self)]) ** 2 / (hits / n * (1 - hits / n) / n), 1.0)

    def influence(self) -> np.ndarray:
        """What each row adds to the error of the ratio (Cochran, Sampling Techniques, 1977, chapter 6)."""
        top, bottom = self.rows
        return (top - self.sums[0] / self.sums[1] * bottom) / self.sums[1]


@dataclass(frozen=True)
class Comparison:
    """Two groups compared: their figures, the difference first - second with its interval, and a verdict."""

    first: str
    second: str
    first_estimate: Estimate
    second_estimate: Estimate
    difference: Estimate
    verdict: Verdict
    unit: Unit = "share"

    @property
    def is_significant(self) -> bool:
        """Whether a difference can be told."""
        return self.verdict in ("higher", "lower")

    @property
    def ratio(self) -> float:
        """How many times the second the first is; nan where the second is not positive."""
        return self.first_estimate.value / self.second_estimate.value if self.second_estimate.value > 0 else nan

    def text(self, what: str, digits: int = 1) -> str:
        """The comparison as a sentence without its full stop.

        Parameters
        ----------
        what
            The figure, as the subject of the sentence: "Conversion", "Mean score".
        """
        counts = f"n = {self.first_estimate.n:,} and {self.second_estimate.n:,}"
        if self.verdict == "too few":
            return f"{what}: too few to compare {self.first} with {self.second} ({counts})"
        both = f"{shown(self.first_estimate.value, self.unit, digits)} for {self.first}, "
        both += f"{shown(self.second_estimate.value, self.unit, digits)} for {self.second}"
        limits = [signed(limit, self.unit, digits) for limit in (self.difference.low, self.difference.high)]
        interval = f"{LEVEL:.0%} interval of the difference {limits[0]} to {limits[1]}, {counts}"
        if self.is_significant:
            return f"{what} is {self.verdict} for {self.first} than for {self.second}: {both} ({interval})"
        return f"{what}: no difference can be told between {self.first} and {self.second}: {both} ({interval})"


@dataclass(frozen=True)
class Ranking:
    """The best of several groups, and which of the others it cannot be told from.

    Attributes
    ----------
    best
        The group with the highest figure, or the lowest where that was asked for; None where all are too few.
    rivals
        Groups that chance may have put behind it.
    left_out
        Groups that are too few to take part.
    """

    best: str | None
    estimates: dict[str, Estimate]
    rivals: tuple[str, ...]
    left_out: tuple[str, ...]
    unit: Unit = "share"
    lowest: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether the best can be told from every other group that took part, of at least one."""
        return self.best is not None and not self.rivals and len(self.estimates) > 1

    def text(self, what: str, digits: int = 1) -> str:
        """The ranking as a sentence without its full stop; `what` is the figure: "Conversion"."""
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
        # Rivals cannot be told from the best; from each other they may be.
        is_any = len(self.estimates) > 4 and len(self.rivals) == len(self.estimates) - 1
        rivals = f"any of {len(self.estimates)}" if is_any else _listed((self.best, *self.rivals))
        return f"{what}: which is {most} cannot be told between {rivals}{aside}"


def share(hits: float, n: float, *, tests: int = 1) -> Estimate:
    """Estimate a share of independent observations, by Wilson's interval (JASA 1927)."""
    if n <= 0:
        return Estimate(nan, nan, nan, 0)
    wide = z(tests)
    middle, half = hits + wide**2 / 2, wide * sqrt(hits * (n - hits) / n + wide**2 / 4)
    return Estimate(hits / n, (middle - half) / (n + wide**2), (middle + half) / (n + wide**2), round(n))


def estimate(group: Group, *, unit: Unit = "number", tests: int = 1) -> Estimate:
    """Estimate the figure of a group: a mean, or a ratio of sums, with clustered errors where it has clusters.

    A share of things that were counted has Wilson's interval at its effective n, which holds for none and for all.
    """
    if not group.n or group.sums[1] == 0:
        return Estimate(nan, nan, nan, group.n)
    if unit == "share" and group.is_counted:
        hits, n = group.sums
        found = share(hits / group.design_effect, n / group.design_effect, tests=tests)
        return replace(found, n=group.n)
    value = group.sums[0] / group.sums[1]
    half = z(tests) * _error([(1.0, group)])
    return Estimate(value, value - half, value + half, group.n)


def compare_shares(first: tuple[str, float, float], second: tuple[str, float, float], *, tests: int = 1) -> Comparison:
    """Compare two shares of independent observations, each a name, hits and n.

    Where several rows belong to one customer use `compare` with clusters.
    """
    one, other = (share(hits, n, tests=tests) for _, hits, n in (first, second))
    enough = min(first[2], second[2]) >= ENOUGH and are_enough((*first[1:], 1.0), (*second[1:], 1.0))
    difference = _difference(one, other)
    return Comparison(first[0], second[0], one, other, difference, verdict(difference, enough))


def compare(
    first: Group, second: Group, *, unit: Unit = "number", tests: int = 1, enough: int | None = None
) -> Comparison:
    """Compare the figures of two groups, with clustered errors where they have clusters.

    Parameters
    ----------
    unit
        What the figures are. A ``share`` of what was counted asks for hits and misses enough besides, and is compared
        by Newcombe's interval at the effective n.
    enough
        Independent observations that each group must have; None: 30, and of money 200, for a few large amounts make
        most of its error.
    """
    one, other = (estimate(group, unit=unit, tests=tests) for group in (first, second))
    is_enough = min(first.n, second.n) >= _enough(unit, enough) and min(first.sums[1], second.sums[1]) > 0
    if not is_enough:
        nothing = Estimate(one.value - other.value, nan, nan, first.n + second.n)
        return Comparison(first.name, second.name, one, other, nothing, "too few", unit)
    together = _error([(1.0, first), (-1.0, second)])
    if unit == "share" and first.is_counted and second.is_counted:
        is_enough = are_enough(*((group.sums[0], group.sums[1], group.design_effect) for group in (first, second)))
        apart = sqrt(_error([(1.0, first)]) ** 2 + _error([(1.0, second)]) ** 2)
        # Customers who are in both groups: their shares move together, or against each other.
        difference = _difference(one, other, together / apart if apart else 1.0)
    else:
        gap, half = one.value - other.value, z(tests) * together
        difference = Estimate(gap, gap - half, gap + half, first.n + second.n)
    return Comparison(first.name, second.name, one, other, difference, verdict(difference, is_enough), unit)


def _difference(one: Estimate, other: Estimate, factor: float = 1.0) -> Estimate:
    """Difference of two shares, by Newcombe's hybrid score interval (Statistics in Medicine 1998, method 10).

    It holds for small shares as well; `factor` widens or narrows it where the two depend on each other.
    """
    gap = one.value - other.value
    low = gap - factor * sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    high = gap + factor * sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Estimate(gap, low, high, one.n + other.n)


def rank(groups: Sequence[Group], *, unit: Unit = "number", lowest: bool = False, enough: int | None = None) -> Ranking:
    """Find the best of several groups, where it can be told: corrected for all pairs that might have been compared.

    Raises
    ------
    ValueError
        Two groups have one name.
    """
    if len({group.name for group in groups}) < len(groups):
        raise ValueError(f"Groups are told by their names, and two have one: {[group.name for group in groups]}.")
    is_able = {group.name: group.n >= _enough(unit, enough) and group.sums[1] > 0 for group in groups}
    able = [group for group in groups if is_able[group.name]]
    left_out = tuple(name for name, can in is_able.items() if not can)
    if not able:
        return Ranking(None, {}, (), left_out, unit, lowest)
    estimates = {group.name: estimate(group, unit=unit) for group in able}
    by_value = sorted(able, key=lambda group: (estimates[group.name].value * (1 if lowest else -1), group.name))
    best, tests = by_value[0], max(comb(len(able), 2), 1)
    compared = [(group.name, compare(best, group, unit=unit, tests=tests, enough=enough)) for group in by_value[1:]]
    rivals = tuple(name for name, comparison in compared if not comparison.is_significant)
    return Ranking(best.name, estimates, rivals, left_out, unit, lowest)


def shown(value: float, unit: Unit = "share", digits: int = 1) -> str:
    """A figure as people write it: ``15.5%``, ``4.2``, ``$1,234.50``; an en dash where there is none."""
    if not isfinite(value):
        return "–"
    size = _size(value, unit, digits)
    return f"−{size}" if value < 0 and any(digit in size for digit in "123456789") else size


def signed(value: float, unit: Unit = "share", digits: int = 1) -> str:
    """A difference as people write it: ``+1.2 points``, ``−0.4``, ``+$3.10``, ``0.0``."""
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
    """Standard error of a weighted sum of the figures of groups, by linearization; clusters may span groups."""
    pulls = [(weight * group.influence(), group.clusters) for weight, group in weighted]
    own = [pull for pull, clusters in pulls if clusters is None]
    shared = [(pull, np.asarray(clusters)) for pull, clusters in pulls if clusters is not None]
    if shared:
        _, of = np.unique(np.concatenate([clusters for _, clusters in shared]), return_inverse=True)
        own.append(np.bincount(of, np.concatenate([pull for pull, _ in shared])))
    parts = np.concatenate(own)
    return sqrt(len(parts) / (len(parts) - 1) * float(parts @ parts)) if len(parts) > 1 else nan


def verdict(difference: Estimate, enough: bool) -> Verdict:
    """What the interval of a difference tells, of observations that are enough or not."""
    if not enough or not isfinite(difference.low) or not isfinite(difference.high):
        return "too few"
    if difference.low > 0:
        return "higher"
    return "lower" if difference.high < 0 else "no difference"


def _enough(unit: Unit, enough: int | None) -> int:
    return enough if enough is not None else ENOUGH_AMOUNTS if unit == "money" else ENOUGH


def are_enough(*groups: tuple[float, float, float], enough: int = ENOUGH_HITS) -> bool:
    """Whether groups, each hits, n and design effect, would each have hits and misses enough if all had one share."""
    hits, n = (sum(group[place] for group in groups) for place in (0, 1))
    return min(hits, n - hits) / n * min(group[1] / group[2] for group in groups) >= enough


def z(tests: int = 1) -> float:
    """Half the width of an interval in standard errors, where so many are looked at together (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / max(tests, 1))


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
