"""The exercises of the learner's notebook: what each asks for, and a check that says what is wrong with an answer.

A check computes the truth itself, from the data that are there, so that it holds for any store, and compares the answer
with it. What it says names the fault and the way to the remedy, never the remedy itself: worked answers stand in a
notebook of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duckbook.analysis import value_style
from duckbook.errors import DuckbookError, WarehouseError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


@dataclass(frozen=True)
class Exercise:
    """What is asked: the query whose result is the right answer, its key columns, and a hint for each column."""

    title: str
    truth: str
    key: tuple[str, ...]
    hints: dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and what is to be said of it."""

    title: str
    solved: bool
    sentence: str

    def _repr_markdown_(self) -> str:
        return f"{'✅' if self.solved else '✏️'} **{self.title}**: {self.sentence}"

    def __repr__(self) -> str:
        return f"{self.title}: {self.sentence}"


EXERCISES = {
    "trace": Exercise(
        "Trace a row",
        """
        select
            (select count(*) from ecom_raw.orders where order_id = $order_id) as records,
            (select count(distinct _batch_id) from ecom_raw.orders where order_id = $order_id) as batches,
            (select status from ecom_staging.stg_orders where order_id = $order_id) as status,
            (select count(*) from ecom_marts.fct_order_details where order_id = $order_id) as lines,
            (select sum(revenue) from ecom_marts.fct_order_details where order_id = $order_id) as revenue
        """,
        (),
        {
            "records": "Count the rows of ecom_raw.orders that carry the order's id.",
            "batches": "A record came with a batch: count the different _batch_id of the order in raw.",
            "status": "Raw holds every version; staging has chosen the newest one. Ask ecom_staging.stg_orders.",
            "lines": "A line of the order is a row of ecom_marts.fct_order_details.",
            "revenue": "Add the revenue of the order's lines in ecom_marts.fct_order_details.",
        },
    ),
    "quarantine": Exercise(
        "Explain the quarantine",
        """
        select
            accounts.table_name, accounts.raw,
            count(reasons.reason) as in_quarantine, count(distinct reasons.reason) as reasons
        from ecom_staging.row_accounts as accounts
        left join ecom_raw.quarantine as reasons on accounts.table_name = reasons.table_name
        group by all
        """,
        ("table_name",),
        {
            "raw": "row_accounts has it ready. When your number is larger, a join has multiplied it.",
            "in_quarantine": "Count the rows of ecom_raw.quarantine by table; count(*) after a left join counts an "
            "empty match as one, count(a column of the right side) does not.",
            "reasons": "Count the different reasons of the table: count(distinct …).",
        },
    ),
    "reconcile": Exercise(
        "Reconcile a mart",
        """
        select
            (select sum(gross_amount) from ecom_marts.fct_sales_by_date) as mart_gross,
            (select sum(total_price) from ecom_staging.stg_order_items) as staging_gross,
            (select sum(units) from ecom_marts.fct_sales_by_date) as mart_units,
            (select sum(quantity) from ecom_staging.stg_order_items) as staging_units
        """,
        (),
        {
            "mart_gross": "Add gross_amount over all rows of ecom_marts.fct_sales_by_date, the unknown day included.",
            "staging_gross": "An order's own total holds shipping and discounts. Gross is the sum of the items.",
            "mart_units": "Add units over all rows of ecom_marts.fct_sales_by_date.",
            "staging_units": "Add quantity over all items, also those whose order has not landed: a join drops them.",
        },
    ),
    "missing_test": Exercise(
        "Write the missing test",
        "select line from practice.lines where is_broken",
        ("line",),
        {
            "line": "The test has three rules to hold; and a comparison with null is neither true nor false, and finds "
            "nothing: see `is distinct from`."
        },
    ),
    "fan_out": Exercise(
        "Find the fan-out",
        """
        with reviews as (
            select order_id, count(*) as reviews from ecom_marts.fct_customer_reviews group by order_id
        )

        select payment_method, count(*) as orders, sum(revenue) as revenue, coalesce(sum(reviews), 0) as reviews
        from ecom_marts.fct_customer_orders
        left join reviews using (order_id)
        group by payment_method
        """,
        ("payment_method",),
        {
            "orders": "An order with three reviews is three rows after the join. Count reviews by order first.",
            "revenue": "An order with three reviews brings its revenue three times. Make the right side of the join "
            "one row per order first.",
            "reviews": "Reviews that name an order count with the way that it was paid; an order without one has 0.",
        },
    ),
    "point_in_time": Exercise(
        "Ask what was known at the time",
        """
        select
            products.category_name as category,
            sum(lines.units * history.base_price) as at_list_price
        from ecom_marts.fct_order_details as lines
        inner join ecom_marts.dim_products as products on lines.product_key = products.product_key
        inner join ecom_marts.dim_products_history as history
            on lines.product_version_key = history.product_version_key
        where not products.is_unknown
        group by category
        """,
        ("category",),
        {
            "at_list_price": "Today's price is not that of the order's time. A line carries the key of the version "
            "that was valid then; or join on valid_from <= ordered_at and ordered_at < valid_to, half-open.",
        },
    ),
    "ratio": Exercise(
        "Do not average averages",
        """
        select sum(late_deliveries) / sum(promised_deliveries) as late_rate
        from ecom_marts.fct_fulfilment
        """,
        (),
        {
            "late_rate": "The mean of the rates counts a state with one delivery in a month as much as one with "
            "many. Divide the sum of the late deliveries by the sum of all that were promised for a time.",
        },
    ),
}


def check(name: str, connection: duckdb.DuckDBPyConnection, answer: pd.DataFrame, **values: Any) -> Verdict:
    """Hold an answer against the truth.

    Parameters
    ----------
    name
        The exercise, one of `EXERCISES`.
    connection
        Where the data are that the exercise asks about.
    answer
        What the learner's query gave, in any order of rows and columns.
    values
        What the truth depends on, such as the ``order_id`` that is traced.

    Raises
    ------
    DuckbookError
        There is no such exercise.
    """
    if name not in EXERCISES:
        raise DuckbookError(f"There is no exercise {name!r}: there are {', '.join(EXERCISES)}.")
    exercise = EXERCISES[name]
    truth = connection.execute(exercise.truth, values or None).df()
    fault = _fault(exercise, answer, truth)
    return Verdict(exercise.title, fault is None, fault or "right.")


def score(verdicts: list[Verdict]) -> str:
    """How many exercises are solved, and which come next, as a sentence."""
    left = [verdict.title for verdict in verdicts if not verdict.solved]
    told = f"{len(verdicts) - len(left)} of {len(verdicts)} exercises are solved"
    return f"{told}; next: {left[0]}." if left else f"{told}. Well done."


def order_to_trace(connection: duckdb.DuckDBPyConnection) -> str:
    """An order that was landed more than once, with lines: the one with the most records, then the first by its id.

    Raises
    ------
    WarehouseError
        There are no marts, or no order with a line; the sentence names the notebook to run first.
    """
    (marts,) = connection.execute(
        "select count(*) from duckdb_tables() where schema_name = 'ecom_marts' and table_name = 'fct_order_details'"
    ).fetchone()
    if not marts:
        raise WarehouseError("The warehouse has no marts yet: run 06_marts.ipynb first, or `make pipeline`.")
    found = connection.execute(
        "select order_id from ecom_raw.orders where order_id in (select order_id from ecom_marts.fct_order_details "
        "where order_lines = 1) group by order_id order by count(*) desc, order_id limit 1"
    ).fetchone()
    if not found:
        raise WarehouseError("No order in the warehouse has a line: generate some with `make pipeline`.")
    return found[0]


def plant_broken_lines(connection: duckdb.DuckDBPyConnection) -> None:
    """Make ``practice.lines``: the sound lines of the marts, and a few that do not add up, for a test to find."""
    connection.execute("create schema if not exists practice")
    connection.execute(
        """
        create or replace table practice.lines as
        select
            order_line_key as line, units, returned_units, gross_amount, discount_amount, net_amount, refund_amount,
            false as is_broken
        from ecom_marts.fct_order_details
        where
            order_lines = 1 and net_amount = gross_amount - discount_amount
            and refund_amount <= net_amount and returned_units <= units
        union all
        values
            ('broken 1', 1, 0, 20.00, 5.00, 20.00, 0.00, true),
            ('broken 2', 1, 1, 20.00, 0.00, 20.00, 25.00, true),
            ('broken 3', 2, 3, 20.00, 0.00, 20.00, 20.00, true),
            ('broken 4', 1, 0, 20.00, 0.00, null, 0.00, true)
        """
    )


def _fault(exercise: Exercise, answer: pd.DataFrame | None, truth: pd.DataFrame) -> str | None:
    """What is wrong with an answer, the first thing first; None where nothing is."""
    if answer is None or not hasattr(answer, "columns"):
        return "there is no table yet: write the query, and run its cell first."
    lacking = [name for name in truth.columns if name not in answer.columns]
    if lacking:
        return f"the answer lacks {' and '.join(lacking)}; it has {', '.join(map(str, answer.columns))}."
    given, right = _rows(exercise, answer), _rows(exercise, truth)
    if len(given) != len(answer):
        return f"there is more than one row for the same {' and '.join(exercise.key) or 'answer'}: group the rows."
    missed, extra = right.keys() - given.keys(), given.keys() - right.keys()
    for what, keys in (("missed", missed), ("too many", extra)):
        if keys:
            hint = exercise.hints.get(exercise.key[0], "Look at the joins: an inner join drops what has no match.")
            return f"{len(keys)} of {len(right)} rows are {what}, such as {_told(min(keys, key=_told))}. {hint}"
    for name, hint in exercise.hints.items():
        # In order, so that the same answer is told the same whatever the order of the rows.
        for key, row in sorted(right.items(), key=lambda item: _told(item[0])):
            if name not in exercise.key and _value(given[key][name]) != _value(row[name]):
                where = f" of {_told(key)}" if key else ""
                found = given[key][name]
                return f"{name}{where} is {_shown(found, name)}, and that is {_off(found, row[name], name)}. {hint}"
    return None


def _rows(exercise: Exercise, table: pd.DataFrame) -> dict[tuple, dict[str, Any]]:
    return {tuple(row[name] for name in exercise.key): row for row in table.to_dict("records")}


def _told(key: tuple) -> str:
    return " and ".join(map(str, key))


def _value(value: Any) -> Any:
    """A value as it is compared: numbers to four decimals, whatever their type; all that is nothing alike."""
    if value is None or value != value:
        return None
    return value if isinstance(value, str) else round(float(value), 4)


def _shown(value: Any, name: str) -> str:
    """A value as a table shows it in a column of that name."""
    found = _value(value)
    return found or "empty" if found is None or isinstance(found, str) else _writer(name, found)(found)


def _off(found: Any, right: Any, name: str) -> str:
    found, right = _value(found), _value(right)
    if not isinstance(found, float) or not isinstance(right, float):
        return "not it"
    shown = _shown(abs(found - right), name)
    points = f"{shown[:-1]} percentage points" if shown.endswith("%") else shown
    return f"{points} too {'much' if found > right else 'little'}"


def _writer(name: str, value: float) -> Callable[[Any], str]:
    import pandas as pd

    return value_style.writer(value_style.chosen_format(name, pd.Series([value])), [value])
