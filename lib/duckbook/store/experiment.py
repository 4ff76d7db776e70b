"""A planted experiment: reminder mails to a random share of the customers, for a quarter of a year.

Customers who have signed up before it starts take part, and chance alone decides who gets the mails. While it lasts,
the treated order again at a rate that is a planted factor higher; nothing else about them changes. Without an uplift,
which is the default, it is an experiment without an effect, and the store is the one that it would be without it.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from duckbook.store import season
from duckbook.store.customers import Customers
from duckbook.store.parameters import Parameters
from duckbook.store.randomness import Randomness

DAYS = 91
"""How long it lasts."""

DAYS_AFTER = 182
"""Days of the history after its end, so that analyses of the last half year see a store as it usually is."""


class Experiment:
    """Who takes part, who is treated, and how the treated pass the time between two orders.

    Attributes
    ----------
    first, last : date
        First and last day of the treatment.
    enrolled, treated : bool arrays of shape (customers,)
    """

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        customers: Customers,
        history_end: date,
        clock: season.Clock,
    ) -> None:
        self.last = history_end - timedelta(days=DAYS_AFTER)
        self.first = self.last - timedelta(days=DAYS - 1)
        begin, end = season.epoch(self.first), season.epoch(self.last) + season.DAY
        self.enrolled = customers.signup < begin
        drawn = randomness.uniform("experiment", customers.id) < parameters.experiment_share
        self.treated = self.enrolled & drawn
        self._uplift = parameters.experiment_uplift
        self._begin = clock.weeks(begin - customers.offset)
        self._end = clock.weeks(end - customers.offset)

    def after(self, who: np.ndarray, weeks: np.ndarray, wait: np.ndarray) -> np.ndarray:
        """The operational weeks at which a wait is over that begins at `weeks`, for customers `who`.

        The wait is as long as it would be without treatment; for the treated it passes faster while they are treated,
        which is what a higher rate means.
        """
        ends = weeks + wait
        if self._uplift == 0:
            return ends
        on = np.flatnonzero(self.treated[who])
        begin, length = self._begin[who[on]], self._end[who[on]] - self._begin[who[on]]
        pace = 1.0 + self._uplift
        passed = weeks[on] + self._uplift * np.clip(weeks[on] - begin, 0.0, length) + wait[on]
        inside = begin + (passed - begin) / pace
        beyond = passed - self._uplift * length
        ends[on] = np.where(passed <= begin, passed, np.where(passed <= begin + pace * length, inside, beyond))
        return ends
