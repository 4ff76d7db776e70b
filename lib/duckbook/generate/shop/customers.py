"""Customers: sign-ups, attributes, and changes over time.

Customer number i signs up when the cumulative intensity of acquisition reaches (i - 1 + jitter) / customers of its
value at the end of the history. Exactly `customers` have then signed up, and the others follow at the same pace.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.catalogue import CATEGORIES
from duckbook.generate.shop.distributions import Lookup, exp, gamma, interpolate, log, normal
from duckbook.generate.shop.distributions import beta as beta_variates
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.places import CITIES, SUBURBS, first_names, last_names, streets
from duckbook.generate.shop.places import GENDERS as NAME_POOLS
from duckbook.generate.shop.randomness import Randomness, below, part
from duckbook.generate.shop.spool import Columns, Spool

GENDERS = ("female", "male", "non-binary")
EDUCATIONS = ("high school", "some college", "bachelor", "master", "doctorate")
MARITAL = ("single", "married", "divorced", "widowed")
CHANNELS = ("email", "sms", "app", "mail")
ACQUISITION = ("organic search", "paid search", "social", "direct", "referral", "affiliate")
LOCATIONS = ("urban", "suburban", "rural")

BUYING_BY_ACQUISITION = (1.00, 0.97, 0.90, 1.04, 1.10, 0.95)
"""Probability of ever buying by acquisition channel, relative to the mean: referred customers buy more often."""

CHANGES = 3
"""Most changes of one kind per customer."""

MEDIAN_INCOME = 50_000.0
"""Yearly income in USD at the mean education and age."""

INCOME_AGES = (20, 30, 40, 50, 60, 72)
"""Ages of `Parameters.income_by_age`, with linear interpolation between them."""

DEGREE_AGES = (18, 22, 24, 28)
"""Minimum ages for some college, a bachelor's degree, a master's degree and a doctorate."""

YEAR = 365.25 * season.DAY
NEVER = np.int64(2**62)


class Customers(Columns):
    """Customers who sign up before a horizon. A later horizon only adds customers.

    Attributes
    ----------
    id, signup : int64 arrays of shape (customers,)
        customer_id and second of the sign-up.
    rate, dropout, spend : float arrays of shape (customers,)
        Latent: orders per operational week while active, probability of dropping out after a repeat purchase, and mean
        order value in cents.
    favourite : int array of shape (customers,)
        Favourite category, of the first line in a share of the orders.
    moved, remarried, rechannelled, repaid : int64 arrays of shape (customers, CHANGES)
        Seconds of changes of address, marital status, channel and income.
    """

    def __init__(
        self, randomness: Randomness, parameters: Parameters, customers: int, span: season.Span, spool: Spool
    ) -> None:
        self._randomness = randomness
        signups = _Signups(randomness, parameters, customers, span)

        def make(chunk: slice) -> dict[str, np.ndarray]:
            number, signup = signups.within(chunk)
            return _CustomerColumns(randomness, parameters, span.first, number + 1, signup).columns()

        vars(self).update(spool.columns(signups.most, make))

    def __len__(self) -> int:
        return len(self.id)

    def address(self, who: np.ndarray | slice, moves: np.ndarray | int) -> tuple[np.ndarray, ...]:
        """Address after so many moves.

        Returns
        -------
        tuple of int64 arrays
            House number, index of the street, index of the city, last two digits of the postal code, index of the
            location type.
        """
        return _address(self._randomness, self.id[who], moves)

    def city(self, who: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """Index of the city after so many moves."""
        return _city(self._randomness.bits("city", self.id[who], moves))

    def income_after(self, who: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """Yearly income in whole USD after so many changes, rounded to hundreds."""
        income = self.income[who]
        for n in range(CHANGES):
            step = 0.96 + 0.16 * self._randomness.uniform("income step", self.id[who], n + 1)
            income = np.where(changes > n, income * step, income)
        return np.rint(income / 100.0).astype(np.int64) * 100

    def channel_after(self, who: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """Index of the preferred channel after so many changes, each to another channel."""
        channel = self.channel[who]
        for n in range(CHANGES):
            step = 1 + below(self._randomness.bits("channel step", self.id[who], n + 1), len(CHANNELS) - 1)
            channel = np.where(changes > n, (channel + step) % len(CHANNELS), channel)
        return channel

    def marital_after(self, who: np.ndarray, changes: np.ndarray) -> np.ndarray:
        """Index of the marital status after so many changes."""
        status = self.marital[who]
        for n in range(CHANGES):
            age = (self.remarried[who, n] - self.born[who]) / YEAR
            ended = np.where(age > 68, MARITAL.index("widowed"), MARITAL.index("divorced"))
            married = status == MARITAL.index("married")
            status = np.where(changes > n, np.where(married, ended, MARITAL.index("married")), status)
        return status


class _Signups:
    """Times of sign-ups, by customer number from 0."""

    def __init__(self, randomness: Randomness, parameters: Parameters, customers: int, span: season.Span) -> None:
        self._randomness, self._customers = randomness, customers
        # The intensity has the hours of the East, five behind UTC, so the clock has a spare day at either end.
        self._shift = 5 * season.HOUR
        days = (span.horizon - span.first).days + 2
        self._clock = season.Clock(span.first - timedelta(days=1), days + 1, parameters.yearly_growth, strength=0.8)
        self._begin, end, last = (
            self._clock.weeks(np.array([season.epoch(day) - self._shift]))[0]
            for day in (span.first, span.history_end + timedelta(days=1), span.horizon + timedelta(days=1))
        )
        self._length = end - self._begin
        self._edge, self._end = season.epoch(span.history_end) + season.DAY, season.epoch(span.horizon) + season.DAY
        self.most = int((last - self._begin) / self._length * customers) + 2

    def within(self, chunk: slice) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and times of the customers in a range who sign up before the horizon."""
        number = np.arange(chunk.start, chunk.stop)
        reached = (number + self._randomness.uniform("signup", number + 1)) / self._customers
        signup = self._clock.second(self._begin + reached * self._length) + self._shift
        # Rounding to whole seconds must not move a sign-up across the end of the history.
        signup = np.where((number < self._customers) & (signup >= self._edge), self._edge - 1, signup)
        signup = np.where((number >= self._customers) & (signup < self._edge), self._edge, signup)
        known = signup < self._end
        return number[known], signup[known]


class _CustomerColumns:
    """Computation of one chunk of customers, whose public attributes become columns of `Customers`."""

    def __init__(
        self, randomness: Randomness, parameters: Parameters, first: date, number: np.ndarray, signup: np.ndarray
    ) -> None:
        self._randomness, self._parameters = randomness, parameters
        self.id, self.signup = number, signup
        self._acquire(first)
        self._latent()
        self._describe()
        self.moved = self._changes("moves", parameters.moves_yearly)
        self.remarried = self._changes("marital changes", parameters.marital_yearly)
        self.rechannelled = self._changes("channel changes", parameters.channel_yearly)
        self.repaid = self._changes("income changes", parameters.income_yearly)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the public attributes."""
        return {name: column for name, column in vars(self).items() if not name.startswith("_")}

    def _acquire(self, first: date) -> None:
        years = (self.signup - season.epoch(first)) / YEAR
        late_in_year = ((self.signup - season.epoch(first)) % int(YEAR)) / YEAR
        # Social grows from year to year; paid search peaks before Christmas. The others share the rest.
        social = 0.12 + 0.025 * np.minimum(years, 6.0)
        paid = 0.17 + 0.06 * (np.abs(late_in_year - 0.45) < 0.12)
        rest = 1.0 - social - paid
        shares = [0.42 * rest, paid, social, 0.27 * rest, 0.19 * rest, 0.12 * rest]
        u = self._randomness.uniform("acquisition channel", self.id)
        reached = np.zeros(len(u))
        self.acquisition = np.zeros(len(u), dtype=np.int64)
        for share in shares[:-1]:
            reached = reached + share
            self.acquisition += u >= reached

    def _latent(self) -> None:
        planted, draw = self._parameters, self._randomness.uniform
        rate = draw("rate", self.id)
        self.rate = gamma(rate, planted.bgnbd_r) / planted.bgnbd_alpha
        self.dropout = beta_variates(draw("dropout", self.id), planted.bgnbd_a, planted.bgnbd_b)
        spend = draw("spend", self.id)
        scale = planted.spend_mean * 100.0 * (planted.spend_q - 1.0)
        self.spend = scale / gamma(spend, planted.spend_q)
        self._age_score = _correlated(planted.rate_age_correlation, rate, draw("age", self.id))
        self._income_score = _correlated(planted.spend_income_correlation, 1.0 - spend, draw("income", self.id))
        chance = planted.share_ever_buying * np.array(BUYING_BY_ACQUISITION)[self.acquisition]
        self.buys = draw("ever buying", self.id) < chance

    def _describe(self) -> None:
        bits = self._randomness.bits("person", self.id)
        self.gender = Lookup.weighted([0.52, 0.46, 0.02])(bits, 0)
        age = np.clip(41.0 + 14.0 * self._age_score, 18.0, 84.0)
        self.born = self.signup - (age * YEAR).astype(np.int64)
        # Nobody has a degree before the usual age.
        most = np.searchsorted(np.array(DEGREE_AGES), age, side="right")
        self.education = np.minimum(Lookup.weighted([0.27, 0.26, 0.29, 0.14, 0.04])(bits, 16), most)
        married = np.clip((age - 20.0) / 40.0, 0.05, 0.62)
        divorced = np.clip((age - 30.0) / 200.0, 0.0, 0.15)
        widowed = np.clip((age - 60.0) / 100.0, 0.0, 0.2)
        u = part(bits, 32, 16) / 65_536
        self.marital = np.select([u < married, u < married + divorced, u < married + divorced + widowed], [1, 2, 3], 0)
        self.channel = Lookup.weighted([0.55, 0.20, 0.20, 0.05])(bits, 48)
        learned = np.array(self._parameters.income_by_education)[self.education]
        aged = _by_age(self._parameters.income_by_age)[age.astype(np.int64)]
        self.income = MEDIAN_INCOME * learned * aged * exp(0.45 * self._income_score)
        tilts = [[c.women for c in CATEGORIES], [1.0 - c.women for c in CATEGORIES], [0.5] * len(CATEGORIES)]
        tables = [Lookup.weighted([c.demand * t for c, t in zip(CATEGORIES, tilt, strict=True)]) for tilt in tilts]
        favourite = self._randomness.bits("favourite category", self.id)
        self.favourite = np.choose(self.gender, [table(favourite) for table in tables])
        names = self._randomness.bits("name", self.id)
        pools = [first_names(gender) for gender in NAME_POOLS]
        starts = np.cumsum([0] + [len(pool.values) for pool in pools])
        drawn = [
            Lookup.weighted(pool.weights)(names, 0) + start for pool, start in zip(pools, starts[:-1], strict=True)
        ]
        self.first_name = np.choose(self.gender, drawn)
        self.last_name = Lookup.weighted(last_names().weights)(names, 16)
        self.offset = (
            np.array([city.offset for city in CITIES])[_address(self._randomness, self.id, 0)[2]] * season.HOUR
        )

    def _changes(self, stream: str, yearly: float) -> np.ndarray:
        at = np.empty((len(self.id), CHANGES), dtype=np.int64)
        moment = self.signup
        for n in range(CHANGES):
            gap = -log(self._randomness.uniform(stream, self.id, n + 1)) * (YEAR / yearly)
            moment = moment + np.minimum(gap, 1e11).astype(np.int64) + season.DAY
            at[:, n] = moment
        return at


def _address(randomness: Randomness, customer: np.ndarray, moves: np.ndarray | int) -> tuple[np.ndarray, ...]:
    bits = randomness.bits("address", customer, moves)
    where = randomness.bits("city", customer, moves)
    city = _city(where)
    street = Lookup.weighted(streets().weights)(bits, 0)
    large = np.array([c.population > 400 for c in CITIES])[city]
    u = part(where, 16, 16) / 65_536
    kind = np.where(large, (u >= 0.58) * 1 + (u >= 0.97), (u >= 0.36) * 1 + (u >= 0.82))
    return below(bits, 9899) + 1, street, city, part(where, 32, 16) * 95 >> 16, kind


def _by_age(known: tuple[float, ...]) -> np.ndarray:
    """Interpolate values known at `INCOME_AGES` for each age in whole years."""
    ages = np.arange(100.0)
    return interpolate(ages, np.array(INCOME_AGES, dtype=np.float64), np.array(known, dtype=np.float64))


def _city(bits: np.ndarray) -> np.ndarray:
    return Lookup.weighted([c.population + SUBURBS for c in CITIES])(bits, 0)


def _correlated(correlation: float, first: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Normal scores with a given correlation with those of the uniforms `first`."""
    rest = np.sqrt(1.0 - correlation * correlation)
    return correlation * normal()(first) + rest * normal()(own)
