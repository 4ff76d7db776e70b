"""A notebook is stale if its sources have changed since its outputs were refreshed."""

from __future__ import annotations

import json
import shutil

import pytest
from duckbook.ops import committed_outputs
from duckbook.runs import chain, staleness
from duckbook.settings import ROOT


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the notebooks, the library and the models, with fresh outputs."""
    for folder in ("notebooks", "lib/duckbook", "dbt/models", "dbt/macros"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", ".ipynb*"))
    monkeypatch.setattr(staleness, "ROOT", tmp_path)
    monkeypatch.setattr(staleness, "PACKAGE", tmp_path / "lib" / "duckbook")
    staleness._imports_of.cache_clear()
    steps = chain.read_chain(tmp_path / "notebooks" / "chain.toml")
    for step in steps:
        notebook = json.loads(step.notebook.read_text("utf-8"))
        notebook["metadata"][staleness.KEY] = staleness.sources(step, steps)
        step.notebook.write_text(json.dumps(notebook), "utf-8")
    yield tmp_path
    staleness._imports_of.cache_clear()


def stale(folder) -> dict[str, list[str]]:
    for cached in (staleness._imports_of, staleness._python, staleness._sql):
        cached.cache_clear()
    found = staleness.stale(folder / "notebooks" / "chain.toml")
    return {name.removesuffix(".ipynb"): kinds for name, kinds in found.items() if kinds}


def change(file, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), "utf-8")


def test_fresh_outputs_are_not_stale(copy):
    assert stale(copy) == {}


def test_a_changed_cell_makes_its_notebook_stale_and_those_after_it(copy):
    change(copy / "notebooks" / "pipeline" / "07_publish.ipynb", "book.finish()", "book.finish() ")
    found = stale(copy)
    assert found["07_publish"] == ["cells"]
    assert found["01_sales"] == ["notebooks before"]
    assert "06_marts" not in found and "realism" not in found


def test_a_changed_module_makes_notebooks_that_import_it_stale(copy):
    change(copy / "lib" / "duckbook" / "analysis" / "elasticity.py", "STEPS = 200", "STEPS = 201")
    assert stale(copy) == {"07_price_elasticity": ["library"], "03_products": ["library"]}


def test_a_comment_and_a_docstring_change_no_output(copy):
    change(copy / "lib" / "duckbook" / "analysis" / "elasticity.py", '"""Price elasticity', '"""Elasticity of price')
    change(copy / "lib" / "duckbook" / "analysis" / "elasticity.py", "# A product or week", "# One")
    assert stale(copy) == {}


def test_a_changed_model_makes_notebooks_after_dbt_stale(copy):
    change(copy / "dbt" / "models" / "marts" / "dim_dates.sql", "select", "select  1 as one,")
    assert {name for name, kinds in stale(copy).items() if kinds == ["dbt"]} >= {
        "06_marts",
        "01_sales",
        "04_sales_forecast",
    }
    assert "03_ingest" not in stale(copy)


def test_refreshed_outputs_carry_the_checksums_of_their_sources():
    steps = chain.read_chain()
    step = steps[0]
    text = committed_outputs._signed(step.notebook.read_text("utf-8"), step, steps)
    assert json.loads(text)["metadata"][staleness.KEY] == staleness.sources(step, steps)
