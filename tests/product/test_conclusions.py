"""Every sentence that an exploration computes is true, or is not said: over shops, filters and periods.

How sentences are checked, and how to add a notebook's, is told in tests/conclusions.py.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from chains import begin
from conclusions import GRAMMAR, GRID, SHORT, Books, check_sentence, defaults, execute, sentences, untrue
from duckbook.generate.shop import parameters as planted_parameters
from duckbook.generate.shop.parameters import planting
from duckbook.publish import publisher
from duckbook.transform import dbt_layers
from landing_zone import Shop, lines

for module in sorted(Path(__file__).parents[1].glob("conclusions_of_*.py")):
    importlib.import_module(module.stem)

PLANTED_NONE = "unhappy_late=0.095 partner_share=0 elasticity_mean=0 elasticity_sd=0 yearly_growth=0"
"""The shop without patterns: late orders disappoint no more than others, subcategories go together by chance, prices
change nothing, and no year has more sign-ups than another. A visit buys as often on any device, too."""


@dataclass(frozen=True)
class Made:
    """A shop of the grid: how it is made, and which patterns it lacks."""

    customers: int = 1500
    values: tuple[tuple[str, Any], ...] = ()
    absent: frozenset[str] = frozenset()
    is_long: bool = True


SHOPS = {
    "generated": Made(is_long=False),
    "own": Made(is_long=False),
    "other seed": Made(values=(("seed", 7),)),
    "larger": Made(customers=4000, values=(("seed", 3),)),
    "no patterns": Made(3000, (("planted", PLANTED_NONE),), frozenset({"late", "affinity", "price", "device"})),
}

STOPS = r"^(DuckbookError|NotEnough|PublishError): .+\."
"""The sentences by which a notebook may end: a parameter that cannot be meant, or nothing at all."""


@dataclass
class Place:
    """A shop that has been built, and what the notebooks said there."""

    books: Books
    said: dict[tuple[str, str], dict]


@pytest.fixture(scope="module")
def places(request, start_shop, external_endpoints, tmp_path_factory, soak):
    """A function that gives a shop by its name, built once, with all that the notebooks of its grid say."""
    known: dict[str, Place] = {}

    def build(name: str, folder: Path) -> Any:
        made = SHOPS[name]
        if name == "generated":
            return request.getfixturevalue("generated_shop")
        if name == "own":
            shop = own_shop(folder, external_endpoints)
        else:
            shop = start_shop(name, customers=made.customers, **dict(made.values))
            with pytest.MonkeyPatch.context() as patch:
                if "device" in made.absent:
                    # The settings plant single numbers; this one has three.
                    patch.setattr(planted_parameters, "planting", on_any_device_alike)
                begin(shop)
        publisher.publish(shop, "conclusions")
        return shop

    def place(name: str) -> Place:
        if name not in known:
            folder = tmp_path_factory.mktemp("said")
            shop = build(name, folder)
            jobs = [(notebook, parameters) for notebook in sorted(GRAMMAR) for parameters in grid(notebook, soak)]
            said = execute(shop.data, jobs, folder)
            keyed = {(notebook, str(job)): one for (notebook, job), one in zip(jobs, said, strict=True)}
            known[name] = Place(Books(shop.data, SHOPS[name].absent), keyed)
        return known[name]

    return place


def on_any_device_alike(changes: str) -> Any:
    """What is planted, with the same conversion on each device."""
    return replace(planting(changes), device_conversion=(1.0, 1.0, 1.0))


def grid(notebook: str, soak: bool) -> list[dict]:
    """The parameters that a notebook is run with."""
    return GRID[notebook] if soak else GRID[notebook][:SHORT]


def own_shop(folder: Path, endpoints) -> Any:
    """The two tables that are required: orders that have a day and no hour, and their items; nothing else is known."""
    shop = Shop(folder / "data", endpoints, "conclusions")
    shop.clear()
    first = date(2024, 5, 1)
    placed = [
        {"order_id": n, "customer_id": f"c-{n * n % 263}", "order_date": str(first + timedelta(days=n * 780 // 900))}
        for n in range(900)
    ]
    shop.land("orders/2026-06-29.ndjson", lines(*placed))
    items = [
        (str(n), line, f"p-{n * (line + 2) % 17}", 1 + n % 3, f"{5 + n % 40}.{n % 10}9")
        for n in range(900)
        for line in range(1 + n % 2)
    ]
    columns = "order_id text, order_item_id int, product_id text, quantity int, unit_price numeric(10, 2)"
    shop.land_table("order_items", columns, items)
    shop.ingest()
    dbt_layers.build(shop.settings, "all")
    return shop.settings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask every shop, notebook and set of parameters in the long version, else the short grid of two shops."""
    if "place" not in metafunc.fixturenames:
        return
    soak = metafunc.config.getoption("--soak")
    found = []
    for name in SHOPS:
        for notebook in sorted(GRAMMAR) if soak or not SHOPS[name].is_long else ():
            for place, parameters in enumerate(grid(notebook, soak)):
                told = " ".join(f"{key}={value}" for key, value in parameters.items()) or "all"
                found.append(pytest.param(name, notebook, place, id=f"{name}-{notebook}-{told}"))
    metafunc.parametrize(("name", "notebook", "place"), found)


def test_what_is_said_is_true(name, notebook, place, places):
    parameters = GRID[notebook][place]
    at = places(name)
    said = at.said[notebook, str(parameters)]
    if said["error"]:
        assert re.match(STOPS, said["error"]), said["error"]
    wrong = untrue(notebook, at.books, parameters, said)
    assert not wrong, "\n".join(wrong)


FIGURE = re.compile(r"\d[\d,]*")


@pytest.mark.parametrize("notebook", ["sales", "operations"])
def test_a_sentence_with_another_figure_or_the_other_way_round_is_found_false(notebook, places):
    """What the checks are worth: each sentence of the generated shop, spoilt, fails."""
    at, passed = places("generated"), []
    told = sentences(at.said[notebook, "{}"])
    spoilt = [FIGURE.sub(lambda found: f"{3 * int(found[0].replace(',', '')) + 7:,}", one, count=1) for one in told]
    spoilt += [one.replace(" is higher for ", " is lower for ").replace("% more than", "% less than") for one in told]
    for sentence in set(spoilt) - set(told):
        try:
            check_sentence(notebook, at.books, defaults(notebook), sentence)
            passed.append(sentence)
        except (AssertionError, ValueError):
            continue
    assert len(set(spoilt) - set(told)) > 4
    assert passed == []
