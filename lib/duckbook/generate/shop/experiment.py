"""A planted experiment: reminder mails to a random share of the customers, for a quarter of a year.

Customers who have signed up before it starts take part, and chance alone decides who gets the mails. While it lasts,
the treated order again at a rate that is a planted factor higher; nothing else about them changes. Without an uplift,
which is the default, it is an experiment without an effect, and the store is the one that it would be without it.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.customers import Customers
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.randomness import Randomness
from duckbook.generate.shop.spool import Spool

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
        spool: Spool,
    ) -> None:
        self.last = history_end - timedelta(days=DAYS_AFTER)
        self.first = self.last - timedelta(days=DAYS - 1)
        self._span = season.epoch(self.first), season.epoch(self.last) + season.DAY
        self._customers, self._clock = customers, clock
        self._uplift = parameters.experiment_uplift

        def made(some: slice) -> dict[str, np.ndarray]:
            enrolled = customers.signup[some] < self._span[0]
            drawn = randomness.uniform("experiment", customers.id[some]) < parameters.experiment_share
            return {"enrolled": enrolled, "treated": enrolled & drawn}

        vars(self).update(spool.columns(len(customers), made))

    def after(self, who: np.ndarray, weeks: np.ndarray, wait: np.ndarray) -> np.ndarray:
        """The operational weeks at which a wait is over that begins at `weeks`, for customers `who`.

        The wait is as long as it would be without treatment; for the treated it passes faster while they are treated,
        which is what a higher rate means.
        """
        ends = weeks + wait
        if self._uplift == 0:
            return ends
        on = np.flatnonzero(self.treated[who])
        begin, end = (self._clock.weeks(moment - self._customers.offset[who[on]]) for moment in self._span)
        length = end - begin
        pace = 1.0 + self._uplift
        passed = weeks[on] + self._uplift * np.clip(weeks[on] - begin, 0.0, length) + wait[on]
        inside = begin + (passed - begin) / pace
        beyond = passed - self._uplift * length
        ends[on] = np.where(passed <= begin, passed, np.where(passed <= begin + pace * length, inside, beyond))
        return ends
