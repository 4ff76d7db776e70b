"""Headline figures: definition, period, and change since earlier months."""

from __future__ import annotations

import json
import re

import duckdb
import pandas as pd
import pytest
from duckbook.analysis import headlines
from duckbook.runs.chain import read_chain

SUMS = {"gross_amount": 0.0, "cancelled_orders": 0, "customers": 1}


def sums(opened: str, **months: tuple[int, float]) -> pd.DataFrame:
    """Sums per month, such as ``m2026_06=(orders, net amount)``, and of the whole history."""
    rows = [
        SUMS | {"month": name[1:].replace("_", "-"), "orders": orders, "net_amount": net, "cancelled_amount": 0.0}
        for name, (orders, net) in months.items()
    ]
    whole = {name: sum(row[name] for row in rows) for name in ("orders", "net_amount", "cancelled_amount")}
    rows.append(SUMS | whole | {"month": headlines.WHOLE})
    return pd.DataFrame(rows).assign(first_day=pd.Timestamp(opened), revenue=lambda frame: frame.net_amount)


def card(frame: pd.DataFrame, as_of: str, name: str) -> dict[str, str]:
    return {card["name"]: card for card in headlines.cards(headlines.headlines(frame, as_of))}[name]


def test_the_last_whole_month_is_compared_with_the_month_and_the_year_before():
    frame = sums("2024-01-01", m2025_05=(50, 500.0), m2026_04=(80, 900.0), m2026_05=(100, 850.5), m2026_06=(3, 9.0))
    for as_of in ("2026-05-31", "2026-06-29"):
        assert card(frame, as_of, "Orders") == {
            "name": "Orders", "definition": "including cancelled orders", "period": "May 2026", "shown": "100",
            "month_before": "+25.0% on April 2026", "year_before": "+100.0% on May 2025",
        }  # fmt: skip
    assert card(frame, "2026-06-29", "Revenue")["month_before"] == "−5.5% on April 2026"
    assert card(frame, "2026-06-30", "Orders")["period"] == "June 2026"
    assert card(frame, "2026-06-30", "Orders")["shown"] == "3"


def test_january_follows_december():
    frame = sums("2024-01-01", m2025_12=(50, 500.0), m2026_01=(100, 850.0))
    assert card(frame, "2026-01-31", "Orders")["month_before"] == "+100.0% on December 2025"
    assert card(frame, "2026-01-31", "Orders")["year_before"] == "none in January 2025"


def test_the_month_in_which_the_shop_opened_is_not_compared_with():
    frame = sums("2026-04-02", m2026_04=(80, 900.0), m2026_05=(100, 850.0))
    assert card(frame, "2026-05-31", "Orders")["month_before"] == "April 2026 is not known"
    assert card(frame, "2026-05-31", "Orders")["year_before"] == "May 2025 is not known"
    young = card(frame, "2026-05-30", "Orders")
    assert (young["period"], young["shown"], young["month_before"]) == ("whole history", "180", "")


def test_a_shop_whose_orders_have_no_date_has_no_month_to_compare():
    frame = sums("2026-01-01", m2026_05=(10, 1000.0)).assign(first_day=pd.NaT)
    assert card(frame, "2026-05-31", "Orders")["period"] == "whole history"


def test_the_average_order_value_follows_from_the_other_figures():
    frame = sums("2026-01-01", m2026_05=(10, 1000.0)).assign(cancelled_orders=2, cancelled_amount=136.0)
    figures = {figure["name"]: figure for figure in headlines.headlines(frame, "2026-05-31")}
    net, cancelled, orders, off = (
        figures[name]["in_period"] for name in ("Net amount", "Cancelled amount", "Orders", "Cancelled orders")
    )
    assert figures["Average order value"]["in_period"] == (net - cancelled) / (orders - off) == 108.0
    assert (
        figures["Average order value"]["definition"] == "(net amount - cancelled amount) / (orders - cancelled orders)"
    )


def test_unknown_figures_are_omitted():
    frame = sums("2026-01-01", m2026_05=(10, 1000.0)).assign(customers=None)
    names = [figure["name"] for figure in headlines.headlines(frame, "2026-05-31")]
    assert "Orders" in names and "Customers" not in names
    assert headlines.headlines(sums("2026-01-01"), "2026-05-31") == []


@pytest.mark.parametrize("measure", [measure for measure, _ in headlines.MEASURES.values()])
def test_each_figure_has_a_definition_in_the_metric_dictionary(measure):
    assert headlines.definition(measure)


SETTLING_DAYS = {"refunds": 47, "cancellations": 2}


def changes(frame: pd.DataFrame, as_of: str, **days: int | None) -> dict[str, str]:
    return {
        card["name"]: card["month_before"]
        for card in headlines.cards(headlines.headlines(frame, as_of, SETTLING_DAYS | days))
    }


def test_figures_with_refunds_or_cancellations_are_compared_only_after_the_month_has_settled():
    frame = sums("2024-01-01", m2026_05=(80, 1000.0), m2026_06=(100, 900.0))
    last = changes(frame, "2026-06-30")
    assert last["Orders"] == "+25.0% on May 2026" and last["Net amount"] == "−10.0% on May 2026"
    assert last["Revenue"] == "not compared yet: refunds and cancellations still come in"
    assert last["Average order value"] == last["Cancelled orders"] == "not compared yet: cancellations still come in"

    later = changes(frame, "2026-07-02")
    assert later["Revenue"] == "not compared yet: refunds still come in"
    assert later["Average order value"] == "−28.0% on May 2026"
    assert changes(frame, "2026-07-02", refunds=2)["Revenue"] == "−10.0% on May 2026"
    assert changes(frame, "2026-07-30", refunds=None)["Revenue"] == "not compared yet: refunds still come in"


def test_a_month_has_settled_after_the_settling_days():
    for as_of, is_settled in (("2026-02-16", False), ("2026-02-17", True)):
        assert headlines.is_settled("2025-12", as_of, {"refunds": 48}) is is_settled
    assert headlines.is_settled("2026-06", "2026-06-30", {})
    assert not headlines.is_settled("2020-01", "2026-06-30", {"refunds": None})


def test_a_note_explains_why_a_figure_is_not_compared():
    frame = sums("2024-01-01", m2026_05=(80, 1000.0), m2026_06=(100, 900.0))
    assert headlines.note(headlines.headlines(frame, "2026-07-05", SETTLING_DAYS)) == (
        "Refunds count on the day of the order, and come in later: 99% of the refunds within 47 days. So revenue of "
        "June 2026 may still change (revenue is likely to fall), and no change since other months is shown."
    )
    assert "it is not known how fast refunds do" in headlines.note(
        headlines.headlines(frame, "2026-07-05", SETTLING_DAYS | {"refunds": None})
    )
    assert headlines.note(headlines.headlines(frame, "2026-07-05")) is None


def test_settling_days_come_from_the_table_of_changes():
    table = pd.DataFrame({"change": ["refunds", "cancellations"], "days": [47.0, None]})
    assert headlines.settling_days(table) == {"refunds": 47, "cancellations": None}
    assert headlines.settling_days(table[:0]) == {}


def test_settling_days_are_measured_on_orders_that_are_old_enough():
    (notebook,) = (step.notebook for step in read_chain() if step.name == "publish")
    sources = ("".join(cell["source"]) for cell in json.loads(notebook.read_text("utf-8"))["cells"])
    (query,) = (found[1] for source in sources if (found := re.match(r"%%sql settling <<\n(.*)", source, re.DOTALL)))
    with duckdb.connect() as connection:
        connection.execute(
            """
            create schema ecom_marts;
            create schema ecom_intermediate;
            -- Old orders are refunded after 1 to 200 days, those of the last month after a day.
            create table ecom_marts.fct_order_details as
            select
                timestamp '2026-06-30' - to_days(if(n <= 200, 400, 20)) as ordered_at,
                ordered_at + to_days(if(n <= 200, n, 1)::int) as returned_at, 5 as refund_amount, false as is_cancelled
            from range(1, 1001) as refunds (n);
            insert into ecom_marts.fct_order_details values (timestamp '2026-06-30', null, 0, false);
            create table ecom_intermediate.int_orders as
            select timestamp '2026-06-29' as ordered_at, timestamp '2026-06-30' as updated_at, true as is_cancelled;
            """
        )
        found = headlines.settling_days(connection.execute(query).df())
        assert found == {"refunds": 198, "cancellations": None}
        connection.execute("delete from ecom_marts.fct_order_details where refund_amount > 0")
        assert headlines.settling_days(connection.execute(query).df()) == {"cancellations": None}
