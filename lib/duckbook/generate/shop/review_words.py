"""Phrases of reviews: praise and blame by topic, openings, endings, and neutral sentences.

Clauses begin with a lower-case letter unless the word never does; `Pool` turns them into sentences. Most lists are
products of alternatives, so that a few lines here give thousands of sentences.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from duckbook.generate.shop.catalogue import CATEGORIES, SUBCATEGORIES

TOPICS = ("delivery", "quality", "fit", "price", "service")
DELIVERY, QUALITY, FIT, PRICE, SERVICE = range(5)


def combine(*alternatives: str) -> list[str]:
    """All combinations of one alternative per argument, such as ``"it|this"``, joined by blanks."""
    return [" ".join(word for word in words if word) for words in product(*(text.split("|") for text in alternatives))]


MAKE = "the quality|the finish|the material|the workmanship"
DESK = "customer service|the support team|the help desk"

PRAISED = (
    combine("it|the parcel|the package", "arrived|came|got here", "quickly|on time|a day early|sooner than I thought")
    + combine("shipping was", "fast|quick|no problem|faster than promised"),
    combine(MAKE, "is|feels|seems", "excellent|great|very good|better than expected|solid|really nice")
    + combine("it", "feels|looks|is", "well made|sturdy|like it will last|better than the old one"),
    combine("the size is", "just right|perfect|exactly as described|what I needed")
    + combine("it", "fits", "perfectly|well|as described|like it was made for me"),
    combine("the price is", "fair|hard to beat|just right|lower than elsewhere")
    + combine("it is|this is", "a good deal|worth the money|cheap for what it does")
    + combine("good|great|excellent", "value|value for money|price for what you get"),
    combine(DESK, "was", "friendly|helpful|quick to answer|a pleasure to deal with")
    + combine("they answered my question", "at once|within an hour|the same day"),
)  # fmt: skip
"""Praise by topic."""

BLAMED = (
    combine("the box|the parcel|the package", "was", "crushed|half open|soaked|left in the rain|badly packed"),
    combine(MAKE, "is|feels|seems", "poor|cheap|disappointing|worse than expected|flimsy|not great")
    + combine("it", "broke|fell apart|looked worn", "after a week|within days|after two uses|almost at once"),
    combine("the size is", "wrong|way off|not as described|smaller than stated")
    + combine("it", "does not fit|is too small|is too big|is far smaller than in the picture"),
    combine("it is", "too expensive|not worth the money|overpriced|dear for what it does")
    + combine("the price is", "too high for this|a joke|more than it should be")
    + combine("I have seen the same", "for less|cheaper elsewhere|for half the price"),
    combine(DESK, "never answered|was rude|was no help|kept me on hold for an hour")
    + combine("the refund", "took weeks|is still not here|was a fight"),
)  # fmt: skip
"""Blame by topic; for delivery, of parcels that arrived on time."""

LATE = (
    combine("it|the parcel|the package|my order", "arrived|came", "days|three days|almost a week|far too|very", "late")
    + combine("I", "waited", "more than a week|ten days|far too long|forever", "for it")
    + combine("the delivery|shipping|my order", "was", "delayed|delayed twice|days late|delayed without a word")
)  # fmt: skip
"""Blame of late deliveries."""

HAPPY = (
    combine("|really|so|very", "happy with|pleased with|glad about", "it|the {noun}|my new {noun}")
    + combine("great|lovely|excellent|wonderful|really good|very nice", "{noun}|product|purchase|{noun} overall")
    + combine("I", "love|really like|like|can recommend", "it|the {noun}|this one")
    + ["exactly what I wanted", "five stars", "would buy again", "highly recommended", "no complaints", "does the job"]
)
SAD = (
    combine("|really|so|very", "disappointed with|unhappy with|annoyed about", "it|the {noun}|my new {noun}")
    + combine("poor|terrible|awful|bad|useless|sad excuse for a", "{noun}|product|{noun} overall")
    + combine("I", "regret buying|would not buy|cannot recommend|do not like", "it|the {noun}|this one")
    + ["not what I wanted", "expected better", "never again", "avoid this", "waste of money", "sending it back"]
)
HAPPY_END = [
    *combine("would|will", "buy it again|order again|get another one"),
    "thank you", "a perfect gift", "I use it every day", "five out of five", "worth every cent", "all good",
]  # fmt: skip
SAD_END = [
    *combine("will not|would not", "buy it again|order here again|get another one"),
    "I want my money back", "save your money", "it goes back", "look elsewhere", "very frustrating", "what a letdown",
]  # fmt: skip
LEANS_GOOD = [
    "still happy overall", "I can live with that", "I would still buy it", "good enough for me", "not a deal breaker",
    "overall fine", "no big deal", "still recommended",
]  # fmt: skip
LEANS_BAD = [
    "overall a letdown", "that is not good enough", "not sure I would buy it again", "I expected more",
    "I had hoped for more", "it could be better", "two stars at most", "not again for me",
]  # fmt: skip
BUT = ("But", "However,", "Only", "On the other hand,", "That said,", "Then again,")

NEUTRAL = (
    combine("bought|ordered|got", "it|the {noun}|one", "for my son|for the office|as a gift|for a trip|at last")
    + combine("I have", "had|used|owned", "it|the {noun}", "for a week|for two weeks|for a month|since last month")
    + combine("it is", "what it says|as described|okay|average|like any other|what the picture shows")
    + combine("my", "first|second|third", "order here|one of these")
    + ["nothing special", "what you would expect", "will update this later", "let us see how it holds up"]
)  # fmt: skip

TYPOS = (
    (" the ", " teh "), ("quality", "qualty"), ("really", "realy"), ("would", "woud"), ("arrived", "arived"),
    ("disappointed", "dissapointed"), ("recommend", "reccomend"), ("exactly", "excatly"), (" it is ", " its "),
    ("because", "becuase"), ("money", "mony"), ("great", "graet"),
)  # fmt: skip
"""Words and their misspellings."""

NOUNS = [item.nouns[0].lower() for item in SUBCATEGORIES]


class Pool:
    """All sentences in one array, in contiguous groups."""

    def __init__(self) -> None:
        texts: list[str] = []
        self._first: dict[str, int] = {}
        self._start: list[int] = []
        self._size: list[int] = []
        self._nouns: list[int] = []
        for kind, groups in _groups().items():
            self._first[kind] = len(self._start)
            for group in groups:
                with_noun = any("{noun}" in text for text in group)
                self._start.append(len(texts))
                self._size.append(len(group))
                self._nouns.append(len(NOUNS) if with_noun else 1)
                texts += [text.format(noun=noun) for text in group for noun in (NOUNS if with_noun else [""])]
        self._texts = pa.array([text[0].upper() + text[1:] + "." for text in texts])

    def number(self, kind: str) -> int:
        """Number of the first group of a kind."""
        return self._first[kind]

    def draw(self, group: np.ndarray, bits: np.ndarray, noun: np.ndarray) -> pa.Array:
        """Draw a sentence about a noun from each group by 16 random bits; null where the group is negative."""
        start, size, nouns = (np.array(column)[group] for column in (self._start, self._size, self._nouns))
        code = start + (bits * size >> 16) * nouns + np.where(nouns > 1, noun, 0)
        return self._texts.take(pa.array(code, mask=group < 0))


@lru_cache
def pool() -> Pool:
    """Build the pool of sentences once."""
    return Pool()


def _groups() -> dict[str, list[list[str]]]:
    """Groups of sentences by kind. Clauses have one group per topic, one per category, and one for late deliveries."""
    praise = [*PRAISED, *(list(category.praise) for category in CATEGORIES), PRAISED[QUALITY]]
    blame = [*BLAMED, *(list(category.blame) for category in CATEGORIES), LATE]
    after_but = {
        f"but {kind}": [[f"{but} {clause}" for but in BUT for clause in clauses] for clauses in groups]
        for kind, groups in (("praise", praise), ("blame", blame))
    }
    ends = {"happy": HAPPY, "sad": SAD, "happy end": HAPPY_END, "sad end": SAD_END, "neutral": NEUTRAL}
    leans = {"leans good": LEANS_GOOD, "leans bad": LEANS_BAD}
    return {"praise": praise, "blame": blame} | after_but | {name: [texts] for name, texts in (ends | leans).items()}


def add_typos(texts: pa.Array, draw: np.ndarray) -> pa.Array:
    """Add a typo to texts, or convert them to lower case, where the draw is below 1; its value selects the change."""
    kind = np.where(draw < 1, (draw * (len(TYPOS) + 1)).astype(np.int64), -1)
    for number, (right, wrong) in enumerate([*TYPOS, ("", "")]):
        mask = kind == number
        selected = texts.filter(pa.array(mask))
        changed = pc.replace_substring(selected, right, wrong) if right else pc.utf8_lower(selected)
        texts = pc.replace_with_mask(texts, pa.array(mask), changed)
    return texts
