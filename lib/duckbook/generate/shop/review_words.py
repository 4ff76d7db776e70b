"""What reviews are made of: clauses by topic, in praise and in blame, openings, endings, and what says neither.

A clause begins with a small letter unless its first word never does; `Pool` makes sentences of them. Every list is
the product of the words that may stand in each place, so that a few lines here are some thousand ways to say it.
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


def every(*places: str) -> list[str]:
    """All ways to choose one of the alternatives of each place, which stand between bars."""
    return [" ".join(word for word in words if word) for words in product(*(place.split("|") for place in places))]


MAKE = "the quality|the finish|the material|the workmanship"
DESK = "customer service|the support team|the help desk"

PRAISED = (
    every("it|the parcel|the package", "arrived|came|got here", "quickly|on time|a day early|sooner than I thought")
    + every("shipping was", "fast|quick|no problem|faster than promised"),
    every(MAKE, "is|feels|seems", "excellent|great|very good|better than expected|solid|really nice")
    + every("it", "feels|looks|is", "well made|sturdy|like it will last|better than the old one"),
    every("the size is", "just right|perfect|exactly as described|what I needed")
    + every("it", "fits", "perfectly|well|as described|like it was made for me"),
    every("the price is", "fair|hard to beat|just right|lower than elsewhere")
    + every("it is|this is", "a good deal|worth the money|cheap for what it does")
    + every("good|great|excellent", "value|value for money|price for what you get"),
    every(DESK, "was", "friendly|helpful|quick to answer|a pleasure to deal with")
    + every("they answered my question", "at once|within an hour|the same day"),
)  # fmt: skip
"""Praise by topic."""

BLAMED = (
    every("the box|the parcel|the package", "was", "crushed|half open|soaked|left in the rain|badly packed"),
    every(MAKE, "is|feels|seems", "poor|cheap|disappointing|worse than expected|flimsy|not great")
    + every("it", "broke|fell apart|looked worn", "after a week|within days|after two uses|almost at once"),
    every("the size is", "wrong|way off|not as described|smaller than stated")
    + every("it", "does not fit|is too small|is too big|is far smaller than in the picture"),
    every("it is", "too expensive|not worth the money|overpriced|dear for what it does")
    + every("the price is", "too high for this|a joke|more than it should be")
    + every("I have seen the same", "for less|cheaper elsewhere|for half the price"),
    every(DESK, "never answered|was rude|was no help|kept me on hold for an hour")
    + every("the refund", "took weeks|is still not here|was a fight"),
)  # fmt: skip
"""Blame by topic; of a delivery, that of a parcel that came in time."""

LATE = (
    every("it|the parcel|the package|my order", "arrived|came", "days|three days|almost a week|far too|very", "late")
    + every("I", "waited", "more than a week|ten days|far too long|forever", "for it")
    + every("the delivery|shipping|my order", "was", "delayed|delayed twice|days late|delayed without a word")
)  # fmt: skip
"""Blame of a delivery that broke its promise."""

HAPPY = (
    every("|really|so|very", "happy with|pleased with|glad about", "it|the {noun}|my new {noun}")
    + every("great|lovely|excellent|wonderful|really good|very nice", "{noun}|product|purchase|{noun} overall")
    + every("I", "love|really like|like|can recommend", "it|the {noun}|this one")
    + ["exactly what I wanted", "five stars", "would buy again", "highly recommended", "no complaints", "does the job"]
)
SAD = (
    every("|really|so|very", "disappointed with|unhappy with|annoyed about", "it|the {noun}|my new {noun}")
    + every("poor|terrible|awful|bad|useless|sad excuse for a", "{noun}|product|{noun} overall")
    + every("I", "regret buying|would not buy|cannot recommend|do not like", "it|the {noun}|this one")
    + ["not what I wanted", "expected better", "never again", "avoid this", "waste of money", "sending it back"]
)
HAPPY_END = [
    *every("would|will", "buy it again|order again|get another one"),
    "thank you", "a perfect gift", "I use it every day", "five out of five", "worth every cent", "all good",
]  # fmt: skip
SAD_END = [
    *every("will not|would not", "buy it again|order here again|get another one"),
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
    every("bought|ordered|got", "it|the {noun}|one", "for my son|for the office|as a gift|for a trip|at last")
    + every("I have", "had|used|owned", "it|the {noun}", "for a week|for two weeks|for a month|since last month")
    + every("it is", "what it says|as described|okay|average|like any other|what the picture shows")
    + every("my", "first|second|third", "order here|one of these")
    + ["nothing special", "what you would expect", "will update this later", "let us see how it holds up"]
)  # fmt: skip

TYPOS = (
    (" the ", " teh "), ("quality", "qualty"), ("really", "realy"), ("would", "woud"), ("arrived", "arived"),
    ("disappointed", "dissapointed"), ("recommend", "reccomend"), ("exactly", "excatly"), (" it is ", " its "),
    ("because", "becuase"), ("money", "mony"), ("great", "graet"),
)  # fmt: skip
"""How words are spelled by those who type in haste."""

NOUNS = [item.nouns[0].lower() for item in SUBCATEGORIES]


class Pool:
    """All sentences in one array; a group of them is a stretch of it."""

    def __init__(self) -> None:
        texts: list[str] = []
        self._first, self._start, self._size, self._nouns = {}, [], [], []
        for kind, groups in _groups().items():
            self._first[kind] = len(self._start)
            for group in groups:
                named = any("{noun}" in text for text in group)
                self._start.append(len(texts))
                self._size.append(len(group))
                self._nouns.append(len(NOUNS) if named else 1)
                texts += [text.format(noun=noun) for text in group for noun in (NOUNS if named else [""])]
        self._texts = pa.array([text[0].upper() + text[1:] + "." for text in texts])

    def number(self, kind: str) -> int:
        """Number of the first group of a kind."""
        return self._first[kind]

    def draw(self, group: np.ndarray, luck: np.ndarray, noun: np.ndarray) -> pa.Array:
        """A sentence of each one's group, by 16 bits of luck, about the noun; null where the group is negative."""
        start, size, nouns = (np.array(column)[group] for column in (self._start, self._size, self._nouns))
        code = start + (luck * size >> 16) * nouns + np.where(nouns > 1, noun, 0)
        return self._texts.take(pa.array(code, mask=group < 0))


@lru_cache
def pool() -> Pool:
    """The sentences, put together once."""
    return Pool()


def _groups() -> dict[str, list[list[str]]]:
    """Kinds of sentences, each in groups: of clauses a group a topic, a group a category, and what came late."""
    praise = [*PRAISED, *(list(category.praise) for category in CATEGORIES), PRAISED[QUALITY]]
    blame = [*BLAMED, *(list(category.blame) for category in CATEGORIES), LATE]
    after_but = {
        f"but {kind}": [[f"{but} {clause}" for but in BUT for clause in clauses] for clauses in groups]
        for kind, groups in (("praise", praise), ("blame", blame))
    }
    ends = {"happy": HAPPY, "sad": SAD, "happy end": HAPPY_END, "sad end": SAD_END, "neutral": NEUTRAL}
    leans = {"leans good": LEANS_GOOD, "leans bad": LEANS_BAD}
    return {"praise": praise, "blame": blame} | after_but | {name: [texts] for name, texts in (ends | leans).items()}


def mistyped(texts: pa.Array, luck: np.ndarray) -> pa.Array:
    """Texts with a typo, or in small letters, where the luck is below one; its value says which."""
    kind = np.where(luck < 1, (luck * (len(TYPOS) + 1)).astype(np.int64), -1)
    for number, (right, wrong) in enumerate([*TYPOS, ("", "")]):
        mask = kind == number
        some = texts.filter(pa.array(mask))
        typed = pc.replace_substring(some, right, wrong) if right else pc.utf8_lower(some)
        texts = pc.replace_with_mask(texts, pa.array(mask), typed)
    return texts
