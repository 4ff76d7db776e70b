"""Reviews: which delivered lines are reviewed, how many stars they get, and a text that agrees with the stars.

Scores are J-shaped because those who write are either content or not (Hu, Pavlou and Zhang, "Overcoming the
J-shaped Distribution of Product Reviews", CACM 2009): a line that disappoints gets mostly one star, any other
mostly five. Lateness and latent quality decide who is disappointed (`duckbook.store.fulfilment`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.store import season
from duckbook.store.baskets import Baskets
from duckbook.store.catalogue import CATEGORIES, SUBCATEGORIES
from duckbook.store.customers import NEVER
from duckbook.store.distributions import Lookup, lognormal
from duckbook.store.fulfilment import Fulfilment
from duckbook.store.parameters import Parameters
from duckbook.store.products import Products
from duckbook.store.randomness import Randomness, part
from duckbook.store.spool import Spool

LINES = 100
"""review_id is order_id × this + the line's number, so that it is never given to another review."""

HAPPY = (
    "Love it:", "Great {noun}:", "Exactly what I wanted:", "Very happy with it:", "Five out of five:",
    "Highly recommended:", "Worth every cent:", "Could not be happier:",
)  # fmt: skip
CONTENT = ("Good {noun}:", "Does the job:", "Solid choice:", "Nice for the price:", "Pleased so far:")
MIXED = ("It is okay:", "Mixed feelings:", "Average {noun}:", "Neither good nor bad:")
SAD = ("Disappointed:", "Not worth it:", "Would not buy again:", "Poor {noun}:", "Expected better:")
ANGRY = ("Terrible {noun}:", "Complete waste of money:", "Avoid this:", "Very unhappy:", "Sending it back:")
OPENINGS = (ANGRY, SAD, MIXED, CONTENT, HAPPY)

ENDINGS = (
    ("I want my money back.", "Never again.", "Save your money."),
    ("I would look elsewhere.", "It could be much better.", "Not for me."),
    ("It will do.", "You get what you pay for.", "There may be better ones."),
    ("I would buy it again.", "Good value.", "No complaints."),
    ("I will order another one.", "A perfect gift.", "Thank you!"),
)
LATE = "It also came days late."


class Reviews:
    """The reviews of all orders, in the order of the lines.

    Attributes
    ----------
    of : int64 array of shape (reviews,)
        Position of the reviewed line.
    written : int64 array of shape (reviews,)
        Second in which it is written, after the delivery.
    score : int64 array of shape (reviews,)
        1 to 5 stars.
    """

    def __init__(
        self,
        randomness: Randomness,
        parameters: Parameters,
        products: Products,
        baskets: Baskets,
        fulfilment: Fulfilment,
        spool: Spool,
    ) -> None:
        self._randomness = randomness
        self._products, self._baskets, self._fulfilment = products, baskets, fulfilment
        happy, unhappy = Lookup.weighted(parameters.happy_scores), Lookup.weighted(parameters.unhappy_scores)

        def made(some: slice) -> dict[str, np.ndarray]:
            bits = randomness.bits("review", baskets.keys(some))
            arrived = fulfilment.delivered[baskets.order[some]] < NEVER
            told = np.flatnonzero((part(bits, 0, 24) < parameters.reviewed_share * 2**24) & arrived)
            bits, line = bits[told], told + some.start
            wait = lognormal(6.0 * season.DAY, 0.8)(bits, 24) + 6 * season.HOUR
            score = np.where(fulfilment.disappoints[line], unhappy(bits, 40), happy(bits, 40)) + 1
            return {"of": line, "written": fulfilment.delivered[baskets.order[line]] + wait, "score": score}

        vars(self).update(spool.columns(len(baskets.order), made))

    def __len__(self) -> int:
        return len(self.of)

    def ids(self, which: slice | np.ndarray) -> np.ndarray:
        """review_id of some reviews."""
        line = self.of[which]
        return (self._baskets.order[line].astype(np.int64) + 1) * LINES + self._baskets.line[line]

    def texts(self, which: np.ndarray) -> pa.Array:
        """Texts of some reviews: an opening, a remark on what the category is judged by, and an ending."""
        line, score = self.of[which], self.score[which] - 1
        product = self._baskets.product[line]
        bits = self._randomness.bits("review text", self._baskets.keys(line))
        chosen = _pick(OPENINGS, score, part(bits, 0, 16)) * len(SUBCATEGORIES) + self._products.subcategory[product]
        opening = _openings().take(pa.array(chosen))
        remark = self._remarks(product, score, bits)
        ending = pa.array(_flat(ENDINGS)).take(pa.array(_pick(ENDINGS, score, part(bits, 48, 16))))
        late = self._fulfilment.late[self._baskets.order[line]] & (score < 3)
        text = pc.binary_join_element_wise(opening, pc.binary_join_element_wise(remark, ".", ""), ending, " ")
        return pc.if_else(pa.array(late), pc.binary_join_element_wise(text, LATE, " "), text)

    def _remarks(self, product: np.ndarray, score: np.ndarray, bits: np.ndarray) -> pa.Array:
        """Praise, blame, or, for three stars, praise with a but."""
        most = max(len(category.praise) for category in CATEGORIES)
        praise = pa.array([text for category in CATEGORIES for text in category.praise])
        blame = pa.array([text for category in CATEGORIES for text in category.blame])
        category = self._products.category[product]
        good = praise.take(pa.array(category * most + (part(bits, 16, 16) * most >> 16)))
        bad = blame.take(pa.array(category * most + (part(bits, 32, 16) * most >> 16)))
        both = pc.binary_join_element_wise(good, bad, ", but ")
        return pc.if_else(pa.array(score == 2), both, pc.if_else(pa.array(score > 2), good, bad))


def _flat(groups: tuple[tuple[str, ...], ...]) -> list[str]:
    return [text for texts in groups for text in texts]


def _pick(groups: tuple[tuple[str, ...], ...], group: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Position, among the texts of all groups, of a text of each one's group."""
    starts = np.cumsum([0] + [len(texts) for texts in groups])[:-1]
    sizes = np.array([len(texts) for texts in groups])
    return starts[group] + (bits * sizes[group] >> 16)


@lru_cache
def _openings() -> pa.Array:
    """Each opening with the noun of each subcategory."""
    nouns = [subcategory.nouns[0].lower() for subcategory in SUBCATEGORIES]
    return pa.array([text.format(noun=noun) for text in _flat(OPENINGS) for noun in nouns])
