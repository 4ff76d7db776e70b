"""The guides of docs/ lead where they say: each is followed to its end in a copy of the dbt project.

A block of a guide that names a file is written to it, a ``diff`` is applied to it, and the command is given to dbt.
What lands is put into raw as ingestion would, by the source tables that the guide defines.
"""

from __future__ import annotations

import re
import shlex
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from duckbook import source_tables
from duckbook.backends import warehouse
from duckbook.settings import ROOT, Settings
from duckbook.transform import dbt_runner, reconciliation
from raw_rows import Raw
from shop import copy_of

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Follower:
    """Someone who does what a guide says, with a shop and a checkout of their own."""

    def __init__(self, shop: Settings, checkout: Path) -> None:
        self.shop = shop
        self.checkout = checkout

    def follow(self, guide: str) -> None:
        """Do what the guide's blocks say, from the first to the last."""
        blocks = BLOCK.findall((ROOT / "docs" / guide).read_text("utf-8"))
        assert [kind for kind, *_ in blocks].count("sh") == 1
        for kind, file, text in blocks:
            if kind == "sh":
                self._command(text)
            elif kind == "diff":
                self._edit(self.checkout / file, text)
            else:
                assert not (self.checkout / file).exists(), file
                (self.checkout / file).write_text(text, "utf-8")

    def _edit(self, file: Path, diff: str) -> None:
        lines = diff.splitlines(keepends=True)
        assert {line[0] for line in lines} == {" ", "+"}
        before = "".join(line[1:] for line in lines if line[0] == " ")
        text = file.read_text("utf-8")
        assert text.count(before) == 1, f"{file.name}: {before}"
        file.write_text(text.replace(before, "".join(line[1:] for line in lines)), "utf-8")

    def _command(self, text: str) -> None:
        program, *arguments = shlex.split(text)
        assert program == "dbt"
        outcome = dbt_runner.invoke(self.shop, arguments, self.checkout / "dbt")
        assert outcome.success, outcome.exception or [
            f"{result.node.name}: {result.message}"
            for result in outcome.result
            if result.status not in ("pass", "success")
        ]

    def query(self, sql: str) -> list[tuple]:
        """What the shop's warehouse answers."""
        with closing(warehouse.open_warehouse(self.shop, read_only=True)) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout that follows one guide after another, so that dbt parses all of it once."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(dbt_runner.PROJECT, folder / "dbt", ignore=shutil.ignore_patterns("logs"))
    return folder


@pytest.fixture
def follower(built_shop, checkout, tmp_path, monkeypatch) -> Follower:
    monkeypatch.setattr(source_tables, "SOURCES_FILE", checkout / "dbt" / "models" / "staging" / "_sources.yml")
    source_tables.source_tables.cache_clear()
    yield Follower(copy_of(built_shop[0], tmp_path), checkout)
    source_tables.source_tables.cache_clear()


@pytest.fixture
def lands_first(follower, monkeypatch):
    """A function that has rows land when the guide comes to its command: raw is then made by the new definitions."""

    def lands(table: str, rows: list[dict]) -> None:
        def command(text: str, give=follower._command) -> None:
            source_tables.source_tables.cache_clear()
            with warehouse.open_warehouse(follower.shop) as connection:
                connection.execute("drop schema ecom_raw cascade")
                Raw(connection).land(table, rows)
            give(text)

        monkeypatch.setattr(follower, "_command", command)

    return lands


def test_a_mart_is_added_and_reconciles(follower):
    follower.follow("add-a-mart.md")
    found = follower.query("select sum(orders), sum(revenue) from ecom_marts.fct_sales_by_payment_method")
    assert found == follower.query("select sum(orders), sum(revenue) from ecom_marts.fct_customer_orders")
    with closing(warehouse.open_warehouse(follower.shop, read_only=True)) as connection:
        mine = [row for row in reconciliation.marts(connection) if row["mart"] == "fct_sales_by_payment_method"]
    assert [(row["measure"], row["equal"]) for row in mine] == [
        ("cancelled_orders", True),
        ("orders", True),
        ("revenue", True),
    ]


def test_a_column_is_added_from_the_source_to_a_mart(follower, lands_first):
    lands_first("orders", [{"order_id": "1", "coupon_code": " SPRING "}, {"order_id": "2"}])
    follower.follow("add-a-column.md")
    found = follower.query("select order_id, coupon_code from ecom_marts.fct_customer_orders order by order_id")
    assert found == [("1", "SPRING"), ("2", None)]


def test_a_source_table_is_added_and_its_rows_are_accounted_for(follower, lands_first):
    rows = [{"campaign_id": "1.0", "budget": "100"}, {"campaign_id": "2", "budget": "a lot"}]
    lands_first("campaigns", [*rows, {"campaign_id": "1", "budget": "120", "channel": "Email"}])
    follower.follow("add-a-source-table.md")
    assert follower.query("select campaign_id, channel, budget::int from ecom_staging.stg_campaigns") == [
        ("1", "email", 120)
    ]
    accounts = (
        "select raw, staged, superseded, quarantined from ecom_staging.row_accounts where table_name = 'campaigns'"
    )
    assert follower.query(accounts) == [(3, 1, 1, 1)]
