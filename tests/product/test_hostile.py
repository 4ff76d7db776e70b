"""Texts that mean harm, in every column, name and key of what lands: shown as text by every page and the terminal."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import nbformat
import postgres_servers
import pytest
from duckbook.backends import servers, storage
from duckbook.runs.notebook_checks import read_parameters
from duckbook.settings import ROOT, Settings
from duckbook.source_tables import source_tables
from psycopg2 import sql

DUCKBOOK = str(Path(sys.executable).parent / "duckbook")

SCRIPT = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>[a](javascript:alert(1))`*_ $1$'
ESCAPES = "\x1b]0;owned\x07\x1b[31m\x1b[2J"
HOSTILE = SCRIPT + ESCAPES + "'; drop table x; --"

ORDERS = 240
"""Enough for the explorations to name what they rank."""


def value(table: str, column: str, kind: str, number: int) -> object:
    """A value of a row; texts that no rule of the source limits mean harm, and differ a little."""
    known = {
        "order_id": number,
        "order_item_id": 1,
        "product_id": f"{number % 5}{HOSTILE}",
        "customer_id": f"{number % 60}{HOSTILE}",
        "subcategory_id": number % 3,
        "category_id": number % 2,
        "review_id": number,
        "event_id": number,
        "session_id": number // 3,
        "status": "delivered",
        "event_type": ("view", "cart_add", "purchase")[number % 3],
        "quantity": 1 + number % 3,
        "review_score": 1 + number % 5,
    }
    if table == "customers" and column == "customer_id":
        return f"{number}{HOSTILE}"
    if table == "products" and column == "product_id":
        return f"{number}{HOSTILE}"
    if column in known:
        return known[column]
    if kind == "timestamp":
        return str(date(2025, 1, 1) + timedelta(days=2 * number % 500)) + "T10:00:00"
    if kind.startswith("decimal"):
        return "12.50"
    if kind == "integer":
        return 30 + number % 9
    if kind == "boolean":
        return True
    return f"{HOSTILE}{number % 4}"


def rows(table: str, count: int) -> list[dict]:
    """Rows of a source table, with a column of its own whose name means harm."""
    columns = source_tables()[table].columns
    return [
        {c.name: value(table, c.name, c.data_type, number) for c in columns} | {HOSTILE: HOSTILE}
        for number in range(count)
    ]


COUNTS = {"customers": 60, "products": 5, "orders": ORDERS, "reviews": 120, "categories": 2, "subcategories": 3,
          "order_items": ORDERS, "interactions": 900}  # fmt: skip


@pytest.fixture(scope="module")
def archive() -> Iterator[tuple[Path, str]]:
    """The archive of a chain over such data, with its explorations, and what its commands said."""
    # Where everybody may enter, as into a folder of one's own; pytest's is closed.
    folder = Path(tempfile.mkdtemp(prefix="""it's "a" {shop} {{ path }} 100% """))
    shop = Settings(data=folder / "data", runs=folder / "runs", _env_file=None)
    for made in (folder, shop.data, shop.runs):
        made.mkdir(exist_ok=True)
        made.chmod(0o755)
    environment = os.environ | {"DUCKBOOK_DATA": str(shop.data), "DUCKBOOK_RUNS": str(shop.runs), "COLUMNS": "200"}
    with ExitStack() as after:
        after.callback(shutil.rmtree, folder)
        after.callback(servers.down, shop)
        subprocess.run([DUCKBOOK, "up"], env=environment, check=True, capture_output=True)
        endpoints = servers.up(shop)
        client = storage.client(endpoints.s3)
        tables = source_tables()
        for name, count in COUNTS.items():
            found = rows(name, count)
            if tables[name].system == "s3":
                body = "\n".join(map(json.dumps, found)) + f"\n{{{SCRIPT}{ESCAPES}\n"
                storage.put_bytes(
                    client, shop.s3_historic_bucket, f"json/{name}/date=2026-06-01/x.ndjson", body.encode()
                )
                continue
            with postgres_servers.connect(endpoints.postgres_dsn) as connection:
                table = sql.Identifier(shop.postgres_schema, name)
                named = [sql.Identifier(column[:60]) for column in found[0]]
                typed = sql.SQL(", ").join(sql.SQL("{} text").format(column) for column in named)
                connection.execute(sql.SQL("create table {} ({})").format(table, typed))
                marks = sql.SQL(", ").join([sql.Placeholder()] * len(named))
                insert = sql.SQL("insert into {} values ({})").format(table, marks)
                with connection.cursor() as cursor:
                    cursor.executemany(insert, [[str(cell) for cell in row.values()] for row in found])
        said = ""
        for words in (
            ["check-landing"],
            ["run", "--no-generate", "--until", "publish"],
            ["run", "--only", "explore"],
            ["status"],
            ["list"],
        ):
            done = subprocess.run([DUCKBOOK, *words], env=environment, capture_output=True, text=True)
            said += done.stdout + done.stderr
            assert done.returncode == 0, said
        yield shop.runs, said


def test_the_terminal_gets_no_escape_of_the_data(archive):
    _, said = archive
    assert "\x1b]0;" not in said and "\x07" not in said and "\x1b[2J" not in said


def test_no_file_can_be_read_by_others_though_the_folder_can(archive):
    runs, _ = archive
    data = runs.parent / "data"
    # What the data folder keeps of the wheels are links to what everybody may read.
    files = [
        path for folder in (runs, data) for path in folder.rglob("*") if not path.is_dir() and not path.is_symlink()
    ]
    assert {"warehouse.duckdb", "run.json", "secrets.json"} <= {path.name for path in files}
    stranger = {"user": 65533, "group": 65533, "extra_groups": []} if os.geteuid() == 0 else {}
    if not stranger:
        pytest.skip("only root can try as somebody else")
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", OPENING],
        input="\0".join(map(str, files)),
        capture_output=True,
        text=True,
        **stranger,
    )
    assert (done.returncode, done.stdout.split("\0")) == (0, [""]), done.stderr


OPENING = """
import sys, os
for path in sys.stdin.read().split(chr(0)):
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_NONBLOCK):
        try:
            os.open(path, flags)
        except OSError:
            continue
        print(path, end=chr(0))
"""
"""Opens files, and says which could be."""


def test_no_page_runs_what_data_hold(archive, chromium):
    runs, _ = archive
    pages = sorted(path for path in runs.rglob("*.html") if "latest" not in path.parts)
    assert {"index.html", "06_marts.html", "03_products.html"} <= {path.name for path in pages}
    tab = chromium.new_page()
    dialogs = []
    tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for page in pages:
        places = [""]
        if page.parent.name == "dbt":
            places += [f"#!/source/source.duckbook.ecom_raw.{name}" for name in source_tables()]
        for place in places:
            tab.goto(f"{page.as_uri()}{place}")
            if page.parent.name == "dbt":
                tab.wait_for_timeout(300)
            assert tab.evaluate("window.hacked") is None, (page, place)
            assert (
                tab.evaluate('document.querySelectorAll(\'img[src="x"], a[href^="javascript:alert"]\').length') == 0
            ), page
    assert dialogs == []


STATEMENT = re.compile(r"\b(select|from|where|create|drop|insert|attach|copy|alter|delete|update|comment on|call|set) ")


def test_no_value_is_pasted_between_quotes_of_sql():
    """What is not a literal goes through `rows.literal` or `rows.quoted`, or is bound."""
    found = []
    for file in sorted((ROOT / "lib").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(part, "value", None) for part in node.values]
                # A name in capitals is a constant of ours.
                texts = [
                    part if isinstance(part, str) else "" if getattr(part, "id", "x").isupper() else None
                    for part in parts
                ]
                pasted = any(after is None and (before or "")[-1:] in {"'", '"'} for before, after in pairwise(texts))
                if pasted and STATEMENT.search(" ".join(filter(None, texts))):
                    found.append(f"{file.name}:{node.lineno}")
    assert found == []


def test_no_text_that_a_person_gives_is_pasted_into_the_sql_of_a_notebook():
    """jupysql fills in what stands in braces as it is: numbers, dates and names that the settings have checked."""
    found = []
    for file in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        texts = {name for name, parameter in read_parameters(file).items() if "str" in parameter.type}
        for cell in nbformat.read(file, as_version=4).cells:
            named = re.findall(r"\{\{(.*?)\}\}", cell.source) if cell.source.startswith("%%sql") else []
            found += [f"{file.name}: {name}" for expression in named for name in texts if name in expression]
    assert found == []
