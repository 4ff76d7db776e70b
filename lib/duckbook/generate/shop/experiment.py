"""Planted experiment: reminder emails to a random share of the customers for a quarter of a year.

Customers who signed up before the start are enrolled, and chance alone decides who is treated. During the experiment
the rate of repeat orders of the treated is higher by a planted factor; nothing else about them changes. The default
uplift is 0, which leaves the shop unchanged.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from duckbook.generate.shop import season
from duckbook.generate.shop.customers import Customers
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.randomness import Randomness
from duckbook.generate.shop.spool import Columns, Spool

DAYS = 91
"""Length of the experiment."""

DAYS_AFTER = 182
"""Days between its end and the end of the history, which keep the last half year free of treatment."""


class Experiment(Columns):
    """Enrolment, treatment, and the effect on the time between two orders.

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

        def make(chunk: slice) -> dict[str, np.ndarray]:
            enrolled = customers.signup[chunk] < self._span[0]
            drawn = randomness.uniform("experiment", customers.id[chunk]) < parameters.experiment_share
            return {"enrolled": enrolled, "treated": enrolled & drawn}

        vars(self).update(spool.columns(len(customers), make))

    def after(self, who: np.ndarray, weeks: np.ndarray, wait: np.ndarray) -> np.ndarray:
        """Operational week in which a wait that begins at `weeks` ends.

        `wait` is the wait without treatment. It passes faster for the treated during the experiment, which is
        equivalent to a higher rate.
        """
        ends = weeks + wait
        if self._uplift == 0:
            return ends
        treated = np.flatnonzero(self.treated[who])
        begin, end = (self._clock.weeks(moment - self._customers.offset[who[treated]]) for moment in self._span)
        length = end - begin
        pace = 1.0 + self._uplift
        treated_weeks = weeks[treated] + self._uplift * np.clip(weeks[treated] - begin, 0.0, length) + wait[treated]
        inside = begin + (treated_weeks - begin) / pace
        beyond = treated_weeks - self._uplift * length
        ends[treated] = np.where(
            treated_weeks <= begin, treated_weeks, np.where(treated_weeks <= begin + pace * length, inside, beyond)
        )
        return ends
