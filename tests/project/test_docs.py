"""What the pages of docs/ tell a reader to do works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import api_page
from chains import duckbook
from duckbook.backends import servers, warehouse
from duckbook.ingest import history, raw
from duckbook.settings import ROOT


def test_the_example_of_the_landing_page_lands_what_is_then_ingested(start_shop):
    shop = start_shop("docs")
    told, _ = duckbook(shop, "env").communicate(timeout=60)
    exported = dict(line.removeprefix("export ").split("=", 1) for line in told.splitlines())
    environment = {name: shlex.split(value)[0] for name, value in exported.items()}
    program = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "landing.md").read_text("utf-8"), re.DOTALL).group(1)
    subprocess.run([sys.executable, "-c", program], env=os.environ | environment, check=True)

    endpoints = servers.up(shop)
    assert {batch.table for batch in history.ingest(shop, endpoints, None).batches} == {"orders", "order_items"}
    raw.load(shop, endpoints)
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        found = connection.execute("""
            select total_amount, total_price
            from ecom_raw.orders
            inner join ecom_raw.order_items using (order_id)
        """).fetchall()
    assert [tuple(map(float, row)) for row in found] == [(25.0, 20.0)]


def test_each_promise_names_tests_that_there_are():
    rows = re.findall(
        r"^\| (?!promise|---)(.+) \| (.+) \|$", (ROOT / "docs" / "promises.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 30
    for promise, held in rows:
        for part in held.split("; "):
            name, _, told = part.partition(": ")
            named = re.findall(r"`(\w+)`", told)
            there = re.findall(
                r"^def (test_\w+)", next((ROOT / "tests").rglob(f"test_{name}.py")).read_text("utf-8"), re.MULTILINE
            )
            assert named and set(named) <= set(there), (promise, name, set(named) - set(there))


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub addresses them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_between_the_pages_leads_to_a_file_and_a_heading():
    pages = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "tests" / "README.md",
        ROOT / "runs" / "README.md",
    ]
    dead = []
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text("utf-8")):
            path, _, heading = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (heading and heading not in anchors(target)):
                dead.append((page.name, link))
    assert len(pages) > 20 and dead == []


def test_the_readme_is_short_and_links_to_every_page():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.split()) <= 1200
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(re.findall(r"\(docs/([\w-]+\.md)", readme))


def test_the_api_page_is_what_the_docstrings_say():
    """Refresh it with `make api`."""
    assert (ROOT / "docs" / "api.md").read_text("utf-8") == api_page.text()
