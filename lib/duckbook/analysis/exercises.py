"""Exercises of the learner's notebook, and checks that explain what is wrong with an answer.

A check computes the right answer from the data, so it works for any shop. Its message names the error and gives a hint,
never the solution: worked answers are in a separate notebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duckbook.analysis import value_style
from duckbook.errors import DuckbookError, WarehouseError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


@dataclass(frozen=True)
class Exercise:
    """An exercise: the query that gives the right answer, its key columns, and a hint per column."""

    title: str
    truth: str
    key: tuple[str, ...]
    hints: dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, with a message for the learner."""

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
            "records": "Count the rows of ecom_raw.orders with the order's id.",
            "batches": "Each record belongs to a batch: count the distinct _batch_id of the order in raw.",
            "status": "Raw has every version, staging only the newest one: query ecom_staging.stg_orders.",
            "lines": "Each line of the order is one row of ecom_marts.fct_order_details.",
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
            "raw": "row_accounts has this number. If yours is larger, a join has multiplied it.",
            "in_quarantine": "Count the rows of ecom_raw.quarantine per table. After a left join count(*) counts a "
            "missing match as one row; count(a column of the right side) does not.",
            "reasons": "Count the distinct reasons per table: count(distinct …).",
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
            "mart_gross": "Add gross_amount over all rows of ecom_marts.fct_sales_by_date, including the unknown day.",
            "staging_gross": "The total of an order includes shipping and discounts. Gross is the sum of the items.",
            "mart_units": "Add units over all rows of ecom_marts.fct_sales_by_date.",
            "staging_units": "Add quantity over all items, including those whose order has not landed: a join drops "
            "them.",
        },
    ),
    "missing_test": Exercise(
        "Write the missing test",
        "select line from practice.lines where is_broken",
        ("line",),
        {
            "line": "The test must check three rules. A comparison with null is neither true nor false, so it finds "
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
            "orders": "An order with three reviews is three rows after the join. Count the reviews per order first.",
            "revenue": "An order with three reviews counts its revenue three times. Reduce the right side of the join "
            "to one row per order first.",
            "reviews": "A review counts under the payment method of its order; an order without reviews has 0.",
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
            "at_list_price": "Today's price is not the price at the time of the order. A line has the key of the "
            "version that was valid then; or join on valid_from <= ordered_at and ordered_at < valid_to.",
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
            "late_rate": "The mean of the rates weights a state with one delivery in a month as much as one with "
            "many. Divide the sum of late deliveries by the sum of promised deliveries.",
        },
    ),
}


def check(name: str, connection: duckdb.DuckDBPyConnection, answer: pd.DataFrame, **values: Any) -> Verdict:
    """Check an answer.

    Parameters
    ----------
    name
        The exercise, one of `EXERCISES`.
    connection
        A connection to the data of the exercise.
    answer
        Result of the learner's query, in any order of rows and columns.
    values
        Parameters of the right answer's query, such as the ``order_id`` to trace.

    Raises
    ------
    DuckbookError
        The exercise does not exist.
    """
    if name not in EXERCISES:
        raise DuckbookError(f"There is no exercise {name!r}: there are {', '.join(EXERCISES)}.")
    exercise = EXERCISES[name]
    truth = connection.execute(exercise.truth, values or None).df()
    error = _first_error(exercise, answer, truth)
    return Verdict(exercise.title, error is None, error or "right.")


def score(verdicts: list[Verdict]) -> str:
    """Summarise in one sentence how many exercises are solved, and which is next."""
    unsolved = [verdict.title for verdict in verdicts if not verdict.solved]
    summary = f"{len(verdicts) - len(unsolved)} of {len(verdicts)} exercises are solved"
    return f"{summary}; next: {unsolved[0]}." if unsolved else f"{summary}. Well done."


def order_to_trace(connection: duckdb.DuckDBPyConnection) -> str:
    """Choose the order with lines that landed most often; ties by id.

    Raises
    ------
    WarehouseError
        There are no marts, or no order has a line.
    """
    [(marts,)] = connection.execute(
        "select count(*) from duckdb_tables() where schema_name = 'ecom_marts' and table_name = 'fct_order_details'"
    ).fetchall()
    if not marts:
        raise WarehouseError(
            "The warehouse has no marts yet: run notebooks/pipeline/06_marts.ipynb first, or `make pipeline`."
        )
    row = connection.execute(
        "select order_id from ecom_raw.orders where order_id in (select order_id from ecom_marts.fct_order_details "
        "where order_lines = 1) group by order_id order by count(*) desc, order_id limit 1"
    ).fetchone()
    if not row:
        raise WarehouseError("No order in the warehouse has a line: generate some with `make pipeline`.")
    return row[0]


def plant_broken_lines(connection: duckdb.DuckDBPyConnection) -> None:
    """Create ``practice.lines``: consistent lines of the marts, and a few inconsistent ones for a test to find."""
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


def _first_error(exercise: Exercise, answer: pd.DataFrame | None, truth: pd.DataFrame) -> str | None:
    """Describe the first error of an answer; None if it is right."""
    if answer is None or not hasattr(answer, "columns"):
        return "there is no table yet: write the query, and run its cell first."
    missing = [name for name in truth.columns if name not in answer.columns]
    if missing:
        return f"the answer lacks {' and '.join(missing)}; it has {', '.join(map(str, answer.columns))}."
    given, right = _rows(exercise, answer), _rows(exercise, truth)
    if len(given) != len(answer):
        return f"there is more than one row for the same {' and '.join(exercise.key) or 'answer'}: group the rows."
    for what, keys in (("missing", right.keys() - given.keys()), ("too many", given.keys() - right.keys())):
        if keys:
            hint = exercise.hints.get(exercise.key[0], "Look at the joins: an inner join drops rows without a match.")
            return f"{len(keys)} of {len(right)} rows are {what}, such as {_in_words(min(keys, key=_in_words))}. {hint}"
    for name, hint in exercise.hints.items():
        # Sorted, so that the message does not depend on the order of the rows.
        for key, row in sorted(right.items(), key=lambda item: _in_words(item[0])):
            if name not in exercise.key and _value(given[key][name]) != _value(row[name]):
                where = f" of {_in_words(key)}" if key else ""
                found = given[key][name]
                return f"{name}{where} is {_formatted(found, name)}, which is {_off(found, row[name], name)}. {hint}"
    return None


def _rows(exercise: Exercise, table: pd.DataFrame) -> dict[tuple, dict[str, Any]]:
    return {tuple(row[name] for name in exercise.key): row for row in table.to_dict("records")}


def _in_words(key: tuple) -> str:
    return " and ".join(map(str, key))


def _value(value: Any) -> Any:
    """Normalise a value for comparison: numbers of any type to four decimals, every missing value to None."""
    if value is None or value != value:
        return None
    return value if isinstance(value, str) else round(float(value), 4)


def _formatted(value: Any, name: str) -> str:
    """Format a value as a table would in a column of that name."""
    import pandas as pd

    value = _value(value)
    if value is None or isinstance(value, str):
        return value or "empty"
    return value_style.formatter(value_style.choose_format(name, pd.Series([value])), [value])(value)


def _off(found: Any, right: Any, name: str) -> str:
    found, right = _value(found), _value(right)
    if not isinstance(found, float) or not isinstance(right, float):
        return "wrong"
    difference = _formatted(abs(found - right), name)
    points = f"{difference[:-1]} percentage points" if difference.endswith("%") else difference
    return f"{points} too {'much' if found > right else 'little'}"
