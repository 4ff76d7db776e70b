"""Exercises: unanswered they fail with a helpful message, and each worked answer passes its check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import duckdb
import pandas as pd
import pytest
from duckbook.analysis import exercises, exploration
from duckbook.backends import warehouse
from duckbook.errors import DuckbookError, WarehouseError
from duckbook.publish import publisher
from duckbook.runs.chain import read_chain
from shop import copy_of

IN_THE_WAREHOUSE = ("trace", "quarantine", "reconcile")
HINTS = {
    "trace": "query ecom_staging|Each line of the order is one row",
    "quarantine": "rows are missing, such as",
    "reconcile": r"which is [\d,]+\.\d\d too much\. .*shipping and discounts",
    "missing_test": "3 of 4 rows are missing, such as broken 2",
    "fan_out": "after the join",
    "point_in_time": "not the price at the time of the order",
    "ratio": r"late_rate is .*percentage points too (much|little)\. The mean of the rates",
}
"""Message of each unanswered exercise."""


def queries(step: str) -> dict[str, str]:
    """Named SQL cells of a notebook (``%%sql NAME <<``), by name."""
    (notebook,) = (entry.notebook for entry in read_chain() if entry.name == step)
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return {found[1]: found[2] for text in texts if (found := re.match(r"%%sql (\w+) <<\n(.*)", text, re.DOTALL))}


@pytest.fixture(scope="module")
def connections(built_shop, tmp_path_factory) -> Iterator[dict[str, duckdb.DuckDBPyConnection]]:
    """Exercise → the connection that its notebook uses, to a published copy of the shop."""
    shop = copy_of(built_shop[0], tmp_path_factory.mktemp("exercises"))
    publisher.publish(shop, "a")
    with warehouse.open_warehouse(shop, read_only=True) as stored, publisher.published(shop) as readers:
        exercises.plant_broken_lines(readers.connection)
        # No price of the shop has changed, so using today's price would not be detected.
        readers.connection.execute(
            "create table dearer as select * replace (base_price + 1 as base_price) from ecom_marts.dim_products"
        )
        readers.connection.execute("create or replace view ecom_marts.dim_products as from dearer")
        yield {name: stored if name in IN_THE_WAREHOUSE else readers.connection for name in exercises.EXERCISES}


@pytest.fixture(scope="module")
def check(connections):
    """A function that runs a query and returns the verdict of an exercise on its result."""
    order_id = exercises.order_to_trace(connections["trace"])
    exploration.choose(connections["trace"], order_id=order_id)

    def checked(name: str, query: str) -> exercises.Verdict:
        given = {"order_id": order_id} if name == "trace" else {}
        answer = connections[name].execute(query).df()
        return exercises.check(name, connections[name], answer, **given)

    return checked


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_an_unanswered_exercise_fails_with_a_helpful_message(check, name):
    verdict = check(name, queries("exercises")[name])
    assert not verdict.solved
    assert re.search(HINTS[name], verdict.sentence), verdict.sentence


@pytest.mark.parametrize("name", exercises.EXERCISES)
def test_a_worked_answer_passes_its_check(check, name):
    verdict = check(name, queries("exercise_answers")[name])
    assert verdict.solved, verdict.sentence


def test_the_exercises_do_not_contain_their_answers():
    questions, answers = queries("exercises"), queries("exercise_answers")
    assert questions.keys() == answers.keys() == exercises.EXERCISES.keys()
    for name, query in questions.items():
        assert query.split() != answers[name].split(), name


def test_rows_and_columns_may_be_in_any_order(check):
    answer = queries("exercise_answers")["quarantine"]
    columns = "reasons, in_quarantine, raw, table_name"
    assert check("quarantine", f"select {columns} from ({answer}) as a order by raw desc").solved


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (
            "select 'orders' as table_name, 1 as raw, 0 as reasons",
            "lacks in_quarantine; it has table_name, raw, reasons",
        ),
        (
            "from (values ('orders', 1, 2, 3), ('orders', 1, 2, 3)) as t (table_name, raw, in_quarantine, reasons)",
            "more than one row for the same",
        ),
        ("select 'orders' as table_name, 1 as raw, 0 as in_quarantine, 0 as reasons", "rows are missing"),
    ],
)
def test_the_first_error_is_reported(check, query, sentence):
    assert sentence in check("quarantine", query).sentence


def test_an_answer_that_was_not_run_is_reported(connections):
    assert "run its cell first" in exercises.check("ratio", connections["ratio"], None).sentence


def test_a_warehouse_without_marts_names_the_notebook_to_run_first():
    with (
        duckdb.connect() as empty,
        pytest.raises(WarehouseError, match=r"run notebooks/pipeline/06_marts\.ipynb first"),
    ):
        exercises.order_to_trace(empty)


def test_an_unknown_exercise_lists_the_known_ones(connections):
    with pytest.raises(DuckbookError, match="no exercise 'trance': there are trace, "):
        exercises.check("trance", connections["trace"], pd.DataFrame())


def test_the_score_names_the_next_exercise():
    done, left = exercises.Verdict("A", True, "right."), exercises.Verdict("B", False, "wrong.")
    assert exercises.score([done, left]) == "1 of 2 exercises are solved; next: B."
    assert exercises.score([done]).endswith("Well done.")
