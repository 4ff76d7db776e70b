"""What a change of the code makes stale: committed outputs, and the steps that a resumed run repeats."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path

import grimp
import nbformat
import pytest
from duckbook.ops import committed_outputs
from duckbook.runs import chain, codebase
from duckbook.settings import ROOT

FOLDERS = {path.parent.name for path in (ROOT / "lib" / "duckbook").glob("*/*.py")}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the notebooks, the library and the dbt project, with fresh outputs."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("notebooks", "lib/duckbook", "dbt"):
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb*", "target")
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    (copy / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "metrics.md", copy / "docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codebase, "ROOT", copy)
        # Parsing the whole library takes a second; a changed file has another time.
        parsed = cache(lambda path, _, parse=codebase._without_comments: parse(path))
        patch.setattr(codebase, "_without_comments", lambda path: parsed(path, path.stat().st_mtime_ns))
        sources = codebase.sources(copy / "notebooks" / "chain.toml")
        for step in chain.read_chain(copy / "notebooks" / "chain.toml"):
            notebook = json.loads(step.notebook.read_text("utf-8"))
            notebook["metadata"][codebase.METADATA_KEY] = sources[step.notebook.name]
            step.notebook.write_text(json.dumps(notebook), "utf-8")
        yield copy


@pytest.fixture
def change(checkout):
    """Replace a text in a file until the test ends."""
    before = {}

    def replace(name: str, old: str, new: str) -> None:
        file = checkout / name
        text = before.setdefault(file, file.read_text("utf-8"))
        assert old in text
        file.write_text(text.replace(old, new, 1), "utf-8")

    yield replace
    for file, text in before.items():
        file.write_text(text, "utf-8")


def stale(checkout: Path) -> dict[str, list[str]]:
    found = codebase.stale(checkout / "notebooks" / "chain.toml")
    return {name.removesuffix(".ipynb"): changed for name, changed in found.items() if changed}


def notebook_with(folder: Path, *cells: str) -> chain.Step:
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), folder / "own.ipynb"
    )
    return chain.Step("own", folder / "own.ipynb")


def folders_used(step: chain.Step) -> set[str]:
    """Folders of the library that a step uses."""
    names = codebase.changed(step, codebase.checksums(), {})
    return {Path(name).name for name in names if name.startswith("lib/duckbook/")}


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("notebooks/pipeline/05_intermediate.ipynb", "intermediate"),
        ("lib/duckbook/settings.py", "generate_history"),
        ("lib/duckbook/generate/shop/baskets.py", "generate_history"),
        ("lib/duckbook/backends/storage.py", "generate_history"),
        ("lib/duckbook/analysis/plotting.py", "generate_history"),
        ("docs/metrics.md", "generate_history"),
        ("lib/duckbook/ingest/batch_files.py", "ingest"),
        ("lib/duckbook/transform/dbt_layers.py", "ingest"),
        ("lib/duckbook/publish/publisher.py", "publish"),
        ("lib/duckbook/runs/page.py", None),
        ("lib/duckbook/ops/parity.py", None),
        ("lib/duckbook/cli/commands.py", None),
        ("dbt/models/staging/stg_orders.sql", "staging"),
        ("dbt/seeds/us_states.csv", "staging"),
        ("dbt/macros/money.sql", "staging"),
        ("dbt/tests/generic/" + next((ROOT / "dbt/tests/generic").glob("*.sql")).name, "staging"),
        ("dbt/models/intermediate/int_orders.yml", "intermediate"),
        ("dbt/models/marts/dim_dates.sql", "marts"),
        ("dbt/tests/marts/every_day_has_its_sales.sql", "marts"),
        ("dbt/models/marts/pages/fct_funnel.md", "marts"),
        ("dbt/models/staging/_sources.yml", "generate_history"),
        ("dbt/dbt_project.yml", "ingest"),
        ("dbt/macros/casts.sql", "ingest"),
    ],
)
def test_a_run_resumes_at_the_first_step_that_uses_the_changed_file(checkout, change, path, step):
    file = checkout / "notebooks" / "chain.toml"
    then = codebase.checksums(file)
    change(path, *(("book.finish()", "book.finish() ") if path.endswith("ipynb") else ("e", "ee")))
    now = codebase.checksums(file)
    affected = [other.name for other in chain.read_chain(file) if codebase.changed(other, then, now)]
    assert next(iter(affected), None) == step


def test_a_deleted_model_has_changed(checkout):
    file = checkout / "notebooks" / "chain.toml"
    steps = {step.name: step for step in chain.read_chain(file)}
    model = checkout / "dbt" / "models" / "marts" / "was_there.sql"
    model.write_text("select 1", "utf-8")
    then = codebase.checksums(file)
    model.unlink()
    now = codebase.checksums(file)
    assert codebase.changed(steps["marts"], then, now) == ["dbt/models/marts"]
    assert codebase.changed(steps["staging"], then, now) == []


def test_a_step_uses_every_folder_that_its_notebooks_imports_reach(tmp_path):
    """Compared with the imports between modules, found by import-linter's library."""
    graph = grimp.build_graph("duckbook")
    graph.remove_import(importer="duckbook.analysis.notebook", imported="duckbook.publish.publisher")
    for step in chain.read_chain():
        modules = {name for name in codebase._imports(step.notebook) if name in graph.modules}
        reached = modules.union(*(graph.find_upstream_modules(name) for name in modules))
        assert {name.split(".")[1] for name in reached if "." in name} & FOLDERS <= folders_used(step), step.name
    for folder in FOLDERS:
        upstream = graph.find_upstream_modules(f"duckbook.{folder}", as_package=True)
        step = notebook_with(tmp_path, f"import duckbook.{folder}", "book.connect('published')")
        assert {name.split(".")[1] for name in upstream if "." in name} & FOLDERS <= folders_used(step), folder


def test_the_files_elsewhere_that_the_library_reads_are_known():
    found = set()
    for path in (ROOT / "lib" / "duckbook").rglob("*.py"):
        if path.relative_to(ROOT).parts[2] not in {"cli", "ops", "runs"}:
            text = path.read_text("utf-8")
            found |= {f"dbt/macros/{name}" for name in re.findall(r"""macro\(\s*"(\w+\.sql)""", text)}
            found |= {
                "/".join(re.findall(r"[\w.]+", names)) for names in re.findall(r"""ROOT((?: / "[\w.]+")+)""", text)
            }
    assert {name for name in found if "." in Path(name).name[1:]} == set(codebase.READ_BY)


def test_a_notebook_that_reads_published_marts_uses_publish(tmp_path):
    session = "from duckbook.analysis import notebook\nbook = notebook.start()"
    reading = {"publish", "transform", "ingest"}
    assert folders_used(notebook_with(tmp_path, session, 'book.connect("landing")')) == {"analysis", "backends"}
    assert folders_used(notebook_with(tmp_path, session, 'book.connect("published")')) > reading
    assert folders_used(notebook_with(tmp_path, session, "which = 'published'\nbook.connect(which)")) > reading
    assert folders_used(notebook_with(tmp_path, "import duckbook", "duckbook.load()")) > reading
    assert folders_used(notebook_with(tmp_path, "if True:\n    from duckbook import load as read")) > reading


def test_a_notebook_without_the_library_uses_only_itself(tmp_path):
    step = notebook_with(tmp_path, "import pandas as pd")
    assert codebase.changed(step, codebase.checksums(), {"own.ipynb": "other"}) == ["own.ipynb"]


def test_fresh_outputs_are_not_stale(checkout):
    assert stale(checkout) == {}


def test_a_changed_cell_makes_its_notebook_stale_and_those_after_it(checkout, change):
    change("notebooks/pipeline/07_publish.ipynb", "book.finish()", "book.finish() ")
    found = stale(checkout)
    assert found["07_publish"] == found["01_sales"] == ["07_publish.ipynb"]
    assert "06_marts" not in found and "realism" not in found


def test_a_changed_module_makes_notebooks_stale_that_use_its_folder(checkout, change):
    change(
        "lib/duckbook/publish/publisher.py",
        "from __future__ import annotations",
        "from __future__ import annotations\n\nx = 1",
    )
    found = stale(checkout)
    assert found["07_publish"] == found["01_sales"] == found["05_experiment"] == ["lib/duckbook/publish"]
    assert not {"03_ingest", "06_marts"} & found.keys()


@pytest.mark.parametrize("path", ["runs/page.py", "ops/parity.py", "cli/commands.py"])
def test_no_output_depends_on_the_code_of_runs_and_commands(checkout, change, path):
    change(f"lib/duckbook/{path}", "from __future__ import annotations", "from __future__ import annotations\n\nx = 1")
    assert stale(checkout) == {}


def test_comments_and_docstrings_do_not_count(checkout, change):
    change("lib/duckbook/analysis/elasticity.py", '"""Price elasticity', '"""Elasticity of price')
    change("lib/duckbook/analysis/elasticity.py", "# A product or week", "# One")
    change("dbt/models/marts/dim_dates.sql", "select", "-- a comment\nselect")
    assert stale(checkout) == {}


@pytest.mark.parametrize("path", ["models/marts/dim_dates.sql", "models/marts/dim_dates.yml", "seeds/us_states.csv"])
def test_a_change_of_the_dbt_project_makes_notebooks_after_dbt_stale(checkout, change, path):
    change(f"dbt/{path}", "e", "ee")
    found = stale(checkout)
    folder = f"dbt/{Path(path).parent.as_posix()}"
    assert found["06_marts"] == found["01_sales"] == found["04_sales_forecast"] == [folder]
    assert "03_ingest" not in found


def test_refreshed_outputs_have_the_checksums_of_their_sources():
    step = chain.read_chain()[0]
    text = committed_outputs._fresh(step.notebook, step.notebook.parent, {"a": "b"})
    assert json.loads(text)["metadata"][codebase.METADATA_KEY] == {"a": "b"}


def test_a_kernel_imports_the_modules_of_its_notebook_and_ignores_invalid_code(tmp_path):
    cells = (
        "%matplotlib inline\nimport pandas as pd\nfrom duckbook.publish import publisher; from duckbook import load",
        "%%sql\nselect 1",
        "def broken(:\n    import json",
        "if pd is None:\n    import calendar",
    )
    assert codebase.imported_by(notebook_with(tmp_path, *cells).notebook) == [
        "duckbook", "duckbook.publish", "duckbook.publish.publisher", "pandas", "sql.magic",
    ]  # fmt: skip
