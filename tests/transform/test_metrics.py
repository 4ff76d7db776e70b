"""The metric dictionary agrees with the marts: every figure, the marts that have it, and its formula on every row."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pytest
import yaml
from duckbook.backends import warehouse
from duckbook.settings import ROOT

MARTS = ROOT / "dbt" / "models" / "marts"
DETAIL = "1, or 0|1, to be summed|1 where|1 for"
"""Pattern of a count's description in a mart with one row per counted thing."""


WORDS = {"abs", "case", "when", "then", "else", "end", "or", "is", "not", "null"}
"""SQL keywords in the formulas; all other words are columns."""


@dataclass(frozen=True)
class Figure:
    formula: str | None
    adds_up: bool
    marts: frozenset[str]


@pytest.fixture(scope="module")
def dictionary() -> dict[str, Figure]:
    figures = {}
    for line in (ROOT / "docs" / "metrics.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or cells[0] in ("figure", "---"):
            continue
        name, formula, _, adds_up, marts = cells
        assert name not in figures, f"{name} is defined twice"
        code = re.fullmatch(r"`(.+)`", formula)
        figures[name] = Figure(code and code[1], adds_up == "yes", frozenset(marts.split(", ")))
    return figures


@pytest.fixture(scope="module")
def columns() -> dict[str, dict[str, dict]]:
    """Mart → column → its YAML."""
    models = [model for file in MARTS.glob("*.yml") for model in yaml.safe_load(file.read_text())["models"]]
    return {model["name"]: {column["name"]: column for column in model["columns"]} for model in models}


def is_figure(column: dict) -> bool:
    """Whether a column of a fact is a measure, not a key."""
    return not column["name"].endswith("_key") and column["data_type"].startswith(("decimal", "bigint", "integer"))


def quotient(numerator, denominator, places: int) -> Decimal | None:
    """Return a quotient rounded half away from zero; None without a numerator or with a denominator of zero."""
    if numerator is None or not denominator:
        return None
    exact = Fraction(numerator) / Fraction(denominator)
    return Decimal(int(abs(exact) * 10**places + Fraction(1, 2)) * (-1 if exact < 0 else 1)).scaleb(-places)


def test_every_figure_of_a_fact_is_in_the_dictionary(columns, dictionary):
    facts = {mart: found for mart, found in columns.items() if mart.startswith("fct_")}
    attributes = {"current_price", "months_since_first_order"}
    missing = {
        (mart, name)
        for mart, found in facts.items()
        for name, column in found.items()
        if is_figure(column) and name not in dictionary and name not in attributes
    }
    assert missing == set()


def test_the_dictionary_names_the_marts_that_carry_a_figure_and_no_other(columns, dictionary):
    carriers = defaultdict(set)
    for mart, found in columns.items():
        for name in found:
            carriers[name].add(mart)
    for name, figure in dictionary.items():
        assert figure.marts == carriers[name], name


def test_what_adds_up_is_marked_and_reconciled(columns, dictionary):
    marked = {
        name
        for found in columns.values()
        for name, column in found.items()
        if column.get("config", {}).get("meta", {}).get("additive")
    }
    assert marked == {name for name, figure in dictionary.items() if figure.adds_up}


def test_a_name_means_the_same_in_every_mart(columns, dictionary):
    for name in dictionary:
        said = {
            found[name]["description"]
            for found in columns.values()
            if name in found and not re.match(DETAIL, found[name]["description"])
        }
        assert len(said) <= 1, (name, said)


def test_every_formula_gives_the_figure_on_every_row(built_shop, columns, dictionary):
    formulas = {name: figure for name, figure in dictionary.items() if figure.formula}
    checked = set()
    with warehouse.open_warehouse(built_shop[0], read_only=True) as connection:
        for name, figure in formulas.items():
            used = set(re.findall(r"[a-z_]+", figure.formula)) - WORDS
            for mart in sorted(figure.marts):
                if not used <= columns[mart].keys():
                    continue
                # Select numerator and denominator, so that Python does the division.
                numerator, _, denominator = figure.formula.removesuffix(" end").partition(" / ")
                end = " end" if numerator.startswith("case") and denominator else ""
                values = f"{numerator}{end}, {denominator}" if denominator else f"{figure.formula}, 1"
                found = connection.execute(f"select {name}, {values} from ecom_marts.{mart}").fetchall()
                places = re.search(r",(\d)\)", columns[mart][name]["data_type"])
                wrong = [row for row in found if row[0] != quotient(*row[1:], int(places[1]) if places else 0)]
                assert found and not wrong, (name, mart, wrong[:3])
                checked.add(name)
    assert checked == formulas.keys()
    assert len(checked) > 30
