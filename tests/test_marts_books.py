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

SEEDS = (1, 2, 3, 5, 8)
"""Seeds that told something once."""

CUSTOMERS, DIRT = 500, 0.04

SHOPS = ("generated", "hostile", "least")
LONG = tuple(f"{kind} {seed}" for kind in SHOPS[:2] for seed in SEEDS)
"""Shops of the long version, by kind and seed."""

SHOWN = 8


def additive() -> dict[str, list[str]]:
    """Fact mart → its measures that add up, by the metric dictionary."""
    found: dict[str, list[str]] = {}
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text("utf-8")
    for measure, adds_up, marts in re.findall(r"^\| (\w+) \|.*\| (yes|no) \| ([\w, ]+) \|$", page, re.MULTILINE):
        for mart in marts.split(", "):
            if adds_up == "yes" and mart.startswith("fct_"):
                found.setdefault(mart, []).append(measure)
    return found


@pytest.fixture(scope="module", params=[*SHOPS, *LONG])
def told(request, start_store, endpoints, tmp_path_factory, soak):
    """A shop's moments, and how to have it again."""
    kind, _, seed = request.param.partition(" ")
    if seed and not soak:
        pytest.skip("many seeds take minutes: make soak")
    number = int(seed or FRESH)
    if kind == "generated":
        dirt = DIRT if number % 2 or not seed else 0.2
        store = start_store("books", customers=CUSTOMERS, seed=number, dirt=dirt, quarantine_limit=1)
        moments = shops.generated(store)
    elif kind == "hostile":
        moments = shops.made_by_hand(tmp_path_factory.mktemp("hostile"), endpoints, number)
    else:
        moments = shops.least(tmp_path_factory.mktemp("least"), endpoints)
    return moments, f"the {kind} shop of seed {number}, again by BOOKS_SEED={number}"


@pytest.mark.parametrize("mart", comparing.MARTS)
def test_a_mart_is_what_the_books_say(told, mart):
    moments, which = told
    for moment in moments:
        found = comparing.differences(mart, moment.marts[mart], comparing.expected(mart, moment.books))
        assert not found, f"{len(found)} differences of {mart} as of {moment.books.as_of} in {which}:\n" + "\n".join(
            sorted(found)[:SHOWN]
        )


def test_every_measure_that_adds_up_is_reconciled_with_the_total_of_the_books(told):
    moments, which = told
    for moment in moments:
        measures = additive()
        wanted = sales.reconciled({mart: comparing.expected(mart, moment.books) for mart in measures}, measures)
        found = comparing.differences("reconciliation", moment.marts["reconciliation"], wanted)
        assert not found, f"as of {moment.books.as_of} in {which}:\n" + "\n".join(sorted(found)[:SHOWN])


def test_the_books_know_every_mart(told):
    moments, _ = told
    models = Path(__file__).parents[1] / "dbt" / "models" / "marts"
    assert {*comparing.MARTS, "reconciliation"} == {file.stem for file in models.glob("*.sql")}
    for moment in moments:
        assert all(moment.marts.values()), "a mart without a row tells nothing"
