"""Every mart at full grain is what books that are kept independently say: each row, each column, each value.

The books (tests/books) read the landing zone and the written definitions, and no model. A shop of a fresh seed is held
against them in every run; a seed that once told something is kept in SEEDS.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from books import comparing, sales, shops

FRESH = int(os.environ.get("BOOKS_SEED", random.SystemRandom().randrange(1_000_000)))
"""The seed of this run; BOOKS_SEED=… repeats one."""

SEEDS = (1, 2, 3, 7, 20, 44)
"""Seeds of the long version; one that told something is added, so that it is asked again."""

CUSTOMERS, DIRT, DIRT_IN_SOAK = 300, 0.04, (0.02, 0.05, 0.2)

SHOWN = 8


def additive() -> dict[str, list[str]]:
    """Fact mart → its measures that add up, by the metric dictionary."""
    found: dict[str, list[str]] = {}
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    for measure, adds_up, marts in re.findall(r"^\| (\w+) \|.*\| (yes|no) \| ([\w, ]+) \|$", page, re.MULTILINE):
        for mart in marts.split(", "):
            if adds_up == "yes" and mart.startswith("fct_"):
                found.setdefault(mart, []).append(measure)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask one shop of each kind of a fresh seed, and in the long version those of SEEDS too."""
    kinds = ["generated", "hostile", "least"]
    if metafunc.config.getoption("--soak"):
        kinds += [f"{kind} {seed}" for kind in ("generated", "hostile") for seed in SEEDS]
    metafunc.parametrize("told", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def told(request, start_shop, endpoints, tmp_path_factory):
    """A shop's moments, and how to have it again."""
    kind, _, seed = request.param.partition(" ")
    number = int(seed or FRESH)
    which = f"the {kind} shop of seed {number}: to have it again, BOOKS_SEED={number}"
    if kind == "generated":
        dirt = DIRT_IN_SOAK[number % len(DIRT_IN_SOAK)] if seed else DIRT
        shop = start_shop("books", customers=CUSTOMERS, seed=number, dirt=dirt, quarantine_limit=1)
        return shops.generated(shop), f"{which}, dirt {dirt}"
    folder = tmp_path_factory.mktemp(kind)
    if kind == "hostile":
        return shops.made_by_hand(folder, endpoints, number), which
    return shops.least(folder, endpoints), "the least shop"


@pytest.mark.parametrize("mart", comparing.MARTS)
def test_a_mart_is_what_the_books_say(told, mart):
    moments, which = told
    for moment in moments:
        found = comparing.differences(mart, moment.marts[mart], comparing.expected(mart, moment.books))
        assert not found, sentence(mart, found, moment, which)


def test_every_measure_that_adds_up_is_reconciled_with_the_total_of_the_books(told):
    moments, which = told
    for moment in moments:
        measures = additive()
        wanted = sales.reconciled(
            {mart: comparing.expected(mart, moment.books) for mart in measures}, measures, moment.books.as_of
        )
        found = comparing.differences("reconciliation", moment.marts["reconciliation"], wanted)
        assert not found, sentence("reconciliation", found, moment, which)


def sentence(mart: str, found: list[str], moment: shops.Moment, which: str) -> str:
    """What differs, in how many places, and how to see it again."""
    count = f"{len(found)} differences between {mart} and the books as of {moment.books.as_of}, in {which}"
    return "\n".join([count, *sorted(found)[:SHOWN]])


def test_the_books_are_kept_of_every_mart(told):
    moments, _ = told
    models = Path(__file__).parents[2] / "dbt" / "models" / "marts"
    assert {*comparing.MARTS, "reconciliation"} == {file.stem for file in models.glob("*.sql")}
    for moment in moments:
        for mart, rows in moment.marts.items():
            assert rows or moment.books.is_bare, f"{mart} has no row, which tells nothing"
