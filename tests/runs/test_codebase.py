"""The files that each step uses, which decide the step that a resumed run starts from."""

from __future__ import annotations

import ast
import re

import nbformat
import pytest
from duckbook.runs import chain, codebase

STEPS = {step.name: step for step in chain.read_chain()}


@pytest.fixture(scope="module")
def now() -> dict[str, str]:
    return codebase.checksums(chain.CHAIN_FILE)


def first_affected(now: dict[str, str], *paths: str) -> str | None:
    """The first step of the chain that uses any of these files."""
    then = now | dict.fromkeys(paths, "another")
    return next((name for name, step in STEPS.items() if codebase.changed(step, then, now)), None)


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("notebooks/pipeline/05_intermediate.ipynb", "intermediate"),
        ("lib/duckbook/settings.py", "generate_history"),
        ("lib/duckbook/generate/shop/baskets.py", "generate_history"),
        ("lib/duckbook/ingest/batch_files.py", "ingest"),
        ("lib/duckbook/ingest/raw.py", "ingest"),
        ("lib/duckbook/transform/dbt_layers.py", "staging"),
        ("lib/duckbook/publish/publisher.py", "publish"),
        ("lib/duckbook/runs/page.py", None),
        ("lib/duckbook/runs/runner.py", None),
        ("dbt/models/staging/stg_orders.sql", "staging"),
        ("dbt/seeds/us_states.csv", "staging"),
        ("dbt/macros/money.sql", "staging"),
        ("dbt/models/intermediate/int_orders.yml", "intermediate"),
        ("dbt/models/marts/dim_dates.sql", "marts"),
        ("dbt/tests/marts/every_day_has_its_sales.sql", "marts"),
        ("dbt/models/staging/_sources.yml", "generate_history"),
    ],
)
def test_a_change_affects_the_first_step_that_uses_the_file(now, path, step):
    assert path in now
    assert first_affected(now, path) == step


def test_a_deleted_model_has_changed(now):
    then = now | {"dbt/models/marts/was_there.sql": "some"}
    assert codebase.changed(STEPS["marts"], then, now) == ["dbt/models/marts/was_there.sql"]
    assert codebase.changed(STEPS["staging"], then, now) == []


def test_every_on_demand_import_has_a_pattern():
    texts = [codebase._modules()[name].read_text("utf-8") for name in codebase.ON_DEMAND]
    functions = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    inside_functions = {name for function in functions for name in codebase._named(function)}
    inside_functions -= {name for name in inside_functions if codebase._modules()[name].name == "__init__.py"}
    assert inside_functions == set(codebase.ON_DEMAND_IMPORTS)
    assert re.search(codebase.ON_DEMAND_IMPORTS["duckbook.publish.publisher"], 'book.connect("published")')
    assert re.search(codebase.ON_DEMAND_IMPORTS["duckbook.publish.publisher"], "book.connect(where)")
    assert not re.search(codebase.ON_DEMAND_IMPORTS["duckbook.publish.publisher"], 'book.connect("landing")')


def test_a_kernel_imports_the_modules_of_its_notebook_and_ignores_invalid_code(tmp_path):
    cells = (
        "%matplotlib inline\nimport pandas as pd\nfrom duckbook.publish import publisher; from duckbook import load",
        "%%sql\nselect 1",
        "def broken(:\n    import json",
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    imported = set(codebase.imported_by(tmp_path / "a.ipynb"))
    assert {"pandas", "duckbook.publish.publisher", "sql.magic"} <= imported
    assert "json" not in imported
