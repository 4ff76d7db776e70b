"""Reviews of delivered lines: time, stars and text.

Scores are J-shaped (Hu, Pavlou and Zhang, "Overcoming the J-shaped Distribution of Product Reviews", CACM 2009): lines
that disappoint get mostly one star, all others mostly five. Lateness and latent quality decide which lines disappoint
(`duckbook.generate.shop.fulfilment`).

A text has a tone and topics. The tone usually follows the stars; a planted share of texts is mixed, neutral, or
contradicts the stars. Topics follow the events: complaints about a late order are mostly about delivery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.generate.shop import review_words as words
from duckbook.generate.shop import season
from duckbook.generate.shop.baskets import Baskets
from duckbook.generate.shop.catalogue import CATEGORIES
from duckbook.generate.shop.customers import NEVER, Customers
from duckbook.generate.shop.distributions import Lookup, lognormal
from duckbook.generate.shop.fulfilment import Fulfilment
from duckbook.generate.shop.parameters import Parameters
from duckbook.generate.shop.products import Products
from duckbook.generate.shop.purchases import Purchases
from duckbook.generate.shop.randomness import Randomness, part
from duckbook.generate.shop.spool import Columns, Spool
from duckbook.generate.shop.working_days import WorkingDays, is_day_off, time_of_day

LINES = 100
"""review_id is order_id × this + the line's number, and so is never reused."""

TONES = ("praise", "complaint", "mixed", "neutral")
PRAISE, COMPLAINT, MIXED, NEUTRAL = range(4)

MIXED_BY_STARS = (0.8, 1.4, 0.0, 1.5, 0.85)
"""Frequency of mixed texts with 1 to 5 stars, relative to the mean. `OF_THREE_STARS` replaces that of three stars."""

OF_THREE_STARS = (0.06, 0.14, 0.60, 0.20)
"""Shares of the tones of texts with three stars."""

FITTED = ("Clothing", "Shoes")
"""Categories in which fit matters most."""

PRAISE_TOPICS = {True: (0.14, 0.36, 0.30, 0.13, 0.07), False: (0.16, 0.56, 0.04, 0.16, 0.08)}
BLAME_TOPICS = {True: (0.05, 0.38, 0.40, 0.10, 0.07), False: (0.07, 0.63, 0.05, 0.14, 0.11)}
"""Shares of the topics, by whether fit matters."""

LATE_BLAMED = 0.75
"""Share of the complaints about late orders that are about delivery."""

SECOND_CLAUSE, OPENING, ENDING, FACT, AGAINST_ITS_STARS = 0.4, 0.6, 0.4, 0.2, 0.08
"""Shares of texts with a second clause, an opening, an ending and a neutral fact; and of mixed texts that lean against
their stars."""


@dataclass(frozen=True)
class Opinions:
    """Tone of texts, topics praised and blamed (-1 for none), and whether the tone contradicts the stars."""

    tone: np.ndarray
    praised: np.ndarray
    blamed: np.ndarray
    contradicts: np.ndarray


class Reviews(Columns):
    """Reviews of all orders, in line order.

    Attributes
    ----------
    line : int64 array of shape (reviews,)
        Position of the reviewed line.
    written : int64 array of shape (reviews,)
        Second in which the review is written, after the delivery, when the customer is awake.
    score : int64 array of shape (reviews,)
        1 to 5 stars.
    """

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        customers: Customers,
        products: Products,
        purchases: Purchases,
        baskets: Baskets,
        fulfilment: Fulfilment,
        span: season.Span,
        spool: Spool,
    ) -> None:
        self._randomness, self._parameters = randomness, parameters
        self._products, self._baskets, self._fulfilment = products, baskets, fulfilment
        happy, unhappy = Lookup.weighted(parameters.happy_scores), Lookup.weighted(parameters.unhappy_scores)
        hours, quiet = time_of_day(season.HOURS), WorkingDays(span, lambda day: not is_day_off(day))

        def make(chunk: slice) -> dict[str, np.ndarray]:
            bits = randomness.bits("review", baskets.keys(chunk))
            arrived = fulfilment.delivered[baskets.order[chunk]] < NEVER
            reviewed = np.flatnonzero((part(bits, 0, 24) < parameters.reviewed_share * 2**24) & arrived)
            bits, line = bits[reviewed], reviewed + chunk.start
            score = np.where(fulfilment.disappoints[line], unhappy(bits, 40), happy(bits, 40)) + 1
            order = baskets.order[line]
            delivered, offset = fulfilment.delivered[order], customers.offset[purchases.customer[order]]
            wait = lognormal(6.0 * season.DAY, 0.8)(bits, 24)
            awake = randomness.bits("review hour", baskets.keys(line))
            day, hour = (delivered + wait - offset) // season.DAY, hours(awake, 0)
            # Three in four reviewers wait on Thanksgiving, Christmas and New Year.
            day = np.where(part(awake, 16, 2) > 0, quiet.following(day), day)
            written = day * season.DAY + hour + offset
            written += np.where(written < delivered + season.HOUR, season.DAY, 0)
            return {"line": line, "written": written, "score": score}

        vars(self).update(spool.columns(len(baskets.order), make))

    def __len__(self) -> int:
        return len(self.line)

    def ids(self, which: slice | np.ndarray) -> np.ndarray:
        """Compute review_id."""
        line = self.line[which]
        return (self._baskets.order[line].astype(np.int64) + 1) * LINES + self._baskets.line[line]

    def opinions(self, which: slice | np.ndarray) -> Opinions:
        """Draw tone and topics of reviews."""
        planted, line, score = self._parameters, self.line[which], self.score[which]
        bits = self._randomness.bits("review tone", self._baskets.keys(line))
        draw, own = part(bits, 0, 20) / 2**20, np.where(score >= 4, PRAISE, COMPLAINT)
        wrong = planted.review_contradicting_share
        neutral = wrong + planted.review_neutral_share
        mixed = neutral + planted.review_mixed_share * np.array(MIXED_BY_STARS)[score - 1]
        tone = np.select([draw < wrong, draw < neutral, draw < mixed], [1 - own, NEUTRAL, MIXED], own)
        tone = np.where(score == 3, Lookup.weighted(OF_THREE_STARS)(bits, 0), tone)
        late = self._fulfilment.late[self._baskets.order[line]]
        fitted = np.array([category.name in FITTED for category in CATEGORIES])[self._category(line)]
        praised, blamed = (
            np.where(fitted, Lookup.weighted(shares[True])(bits, at), Lookup.weighted(shares[False])(bits, at))
            for shares, at in ((PRAISE_TOPICS, 20), (BLAME_TOPICS, 36))
        )
        blamed = np.where(late & (part(bits, 52, 12) < LATE_BLAMED * 4096), words.DELIVERY, blamed)
        # A text does not praise the topic it blames, nor the delivery of a late order.
        praised = np.where(late & (praised == words.DELIVERY), words.QUALITY, praised)
        praised = np.where((tone == MIXED) & (praised == blamed), (blamed + 1) % len(words.TOPICS), praised)
        praised = np.where(late & (praised == words.DELIVERY), words.QUALITY, praised)
        expresses = [tone == PRAISE, tone == COMPLAINT, tone == MIXED]
        return Opinions(
            tone=tone,
            praised=np.where(expresses[0] | expresses[2], praised, -1),
            blamed=np.where(expresses[1] | expresses[2], blamed, -1),
            contradicts=(score != 3) & (tone == 1 - own),
        )

    def texts(self, which: np.ndarray) -> pa.Array:
        """Compose texts of up to five sentences, the second of which carries the topic."""
        opinions, line, score = self.opinions(which), self.line[which], self.score[which]
        key, product = self._baskets.keys(line), self._baskets.product[line]
        how, first, last = (self._randomness.bits("review words", key, n) for n in range(3))
        mixed, neutral = opinions.tone == MIXED, opinions.tone == NEUTRAL
        leans_good = (score >= 4) ^ (part(how, 0, 12) < AGAINST_ITS_STARS * 4096)
        is_good = (opinions.tone == PRAISE) | (mixed & leans_good)
        more, opens, ends = (
            part(how, at, 12) < share * 4096 for at, share in ((12, SECOND_CLAUSE), (24, OPENING), (36, ENDING))
        )
        subject, noun = (how, line, product), self._products.subcategory[product]
        about = np.where(is_good, opinions.praised, opinions.blamed)
        good, bad = self._about("praise", opinions.praised, *subject), self._about("blame", opinions.blamed, *subject)
        other = np.where(about == words.QUALITY, words.PRICE, words.QUALITY)
        again = np.where(
            is_good, self._about("praise", other, *subject, turn=1), self._about("blame", other, *subject, turn=1)
        )
        but = np.where(
            is_good,
            self._about("but blame", opinions.blamed, *subject),
            self._about("but praise", opinions.praised, *subject),
        )
        group_of, none = words.pool().number, -1
        ending = np.where(
            mixed,
            np.where(is_good, group_of("leans good"), group_of("leans bad")),
            np.where(is_good, group_of("happy end"), group_of("sad end")),
        )
        opening = np.where(is_good, group_of("happy"), group_of("sad"))
        ends |= mixed & (part(how, 62, 2) > 0)
        groups: tuple[np.ndarray, ...] = (
            np.where(opens & ~neutral & ~mixed, opening, none),
            np.where(neutral, group_of("neutral"), np.where(is_good, good, bad)),
            np.where(mixed, but, np.where(more, np.where(neutral, group_of("neutral"), again), none)),
            np.where(ends & ~neutral, ending, none),
        )
        groups = (*groups, np.where((part(how, 50, 12) < FACT * 4096) & ~neutral, group_of("neutral"), none))
        draws = (*(part(first, at, 16) for at in (0, 16, 32, 48)), part(last, 0, 16))
        pieces = [words.pool().draw(*drawn, noun) for drawn in zip(groups, draws, strict=True)]
        text = pc.binary_join_element_wise(*pieces, " ", null_handling="skip")
        return words.add_typos(text, part(last, 16, 16) / 65_536 / self._parameters.review_typo_share)

    def _category(self, line: np.ndarray) -> np.ndarray:
        return self._products.category[self._baskets.product[line]]

    def _about(
        self, kind: str, topic: np.ndarray, bits: np.ndarray, line: np.ndarray, product: np.ndarray, turn: int = 0
    ) -> np.ndarray:
        """Group of clauses for each topic. Half of those about quality are specific to the category."""
        own = (topic == words.QUALITY) & (part(bits, 48 + turn, 1) == 1)
        group = np.where(own, len(words.TOPICS) + self._products.category[product], topic)
        late = self._fulfilment.late[self._baskets.order[line]] & (topic == words.DELIVERY)
        return words.pool().number(kind) + np.where(late, len(words.TOPICS) + len(CATEGORIES), group)
