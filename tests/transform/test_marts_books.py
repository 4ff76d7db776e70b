"""Every mart at full grain equals independent books: each row, each column, each value.

The books (tests/books) follow the landing zone and the written definitions, and read no model. Every run compares a
shop of a new seed with them; seeds that once found a fault are kept in SEEDS.
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
"""Seeds of the long version. Add a seed that found a fault."""

CUSTOMERS, DIRT, DIRT_IN_SOAK = 300, 0.04, (0.02, 0.05, 0.2)

SHOWN = 8


def additive() -> dict[str, list[str]]:
    """Return fact mart → its additive measures, from the metric dictionary."""
    found: dict[str, list[str]] = {}
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    for measure, adds_up, marts in re.findall(r"^\| (\w+) \|.*\| (yes|no) \| ([\w, ]+) \|$", page, re.MULTILINE):
        for mart in marts.split(", "):
            if adds_up == "yes" and mart.startswith("fct_"):
                found.setdefault(mart, []).append(measure)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Test one shop of each kind with a new seed, and in the long version also those of SEEDS."""
    kinds = ["generated", "hostile", "least"]
    if metafunc.config.getoption("--soak"):
        kinds += [f"{kind} {seed}" for kind in ("generated", "hostile") for seed in SEEDS]
    metafunc.parametrize("shop_and_name", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def shop_and_name(request, start_shop, endpoints, tmp_path_factory):
    """The moments of a shop, and how to reproduce it."""
    kind, _, seed = request.param.partition(" ")
    number = int(seed or FRESH)
    which = f"the {kind} shop of seed {number}: to reproduce it, BOOKS_SEED={number}"
    if kind == "generated":
        dirt = DIRT_IN_SOAK[number % len(DIRT_IN_SOAK)] if seed else DIRT
        shop = start_shop("books", customers=CUSTOMERS, seed=number, dirt=dirt, quarantine_limit=1)
        return shops.generated(shop), f"{which}, dirt {dirt}"
    folder = tmp_path_factory.mktemp(kind)
    if kind == "hostile":
        return shops.made_by_hand(folder, endpoints, number), which
    return shops.least(folder, endpoints), "the least shop"


@pytest.mark.parametrize("mart", comparing.MARTS)
def test_a_mart_is_what_the_books_say(shop_and_name, mart):
    moments, which = shop_and_name
    for moment in moments:
        found = comparing.differences(mart, moment.marts[mart], comparing.expected(mart, moment.books))
        assert not found, sentence(mart, found, moment, which)


def test_every_measure_that_adds_up_is_reconciled_with_the_total_of_the_books(shop_and_name):
    moments, which = shop_and_name
    for moment in moments:
        measures = additive()
        wanted = sales.reconciled(
            {mart: comparing.expected(mart, moment.books) for mart in measures}, measures, moment.books.as_of
        )
        found = comparing.differences("reconciliation", moment.marts["reconciliation"], wanted)
        assert not found, sentence("reconciliation", found, moment, which)


def sentence(mart: str, found: list[str], moment: shops.Moment, which: str) -> str:
    """Return the differences, their number, and how to reproduce them."""
    count = f"{len(found)} differences between {mart} and the books as of {moment.books.as_of}, in {which}"
    return "\n".join([count, *sorted(found)[:SHOWN]])


def test_the_books_are_kept_of_every_mart(shop_and_name):
    moments, _ = shop_and_name
    models = Path(__file__).parents[2] / "dbt" / "models" / "marts"
    assert {*comparing.MARTS, "reconciliation"} == {file.stem for file in models.glob("*.sql")}
    for moment in moments:
        for mart, rows in moment.marts.items():
            assert rows or moment.books.is_bare, f"{mart} has no row, so the comparison is void"
