"""Build the dbt project layer by layer in this process: raw → staging → intermediate → marts.

The models are in ``dbt/``; this module runs them, returns what was built and tested, and copies dbt's artifacts into a
run's folder. dbt's target folder is ``data/dbt``; the parsed project is in ``dbt/target/parsed``, for all data folders
of the checkout. ``dbt build`` typed in ``dbt/`` does the same without this module.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from duckbook.backends import lock, warehouse
from duckbook.errors import TransformError
from duckbook.files import write_private
from duckbook.settings import Settings
from duckbook.transform import contracts, dbt_runner, failures
from duckbook.transform.build_results import Build, Model, Test

if TYPE_CHECKING:
    import duckdb

Layer = Literal["staging", "intermediate", "marts"]

SELECTION: dict[str, tuple[str, ...]] = {
    "staging": ("path:seeds", "path:models/staging"),
    "intermediate": ("path:models/intermediate",),
    "marts": ("path:models/marts",),
}
"""Layer → dbt's selection. A test that spans layers runs with the later one (indirect selection ``buildable``)."""

SCHEMA_BEFORE = {
    "staging": ("ecom_raw", "notebooks/pipeline/03_ingest.ipynb"),
    "intermediate": ("ecom_staging", "notebooks/pipeline/04_staging.ipynb"),
    "marts": ("ecom_intermediate", "notebooks/pipeline/05_intermediate.ipynb"),
}
"""Layer → the schema that it reads, and the notebook that builds that schema."""

ARTIFACTS = ("manifest.json", "run_results.json", "catalog.json", "index.html")
"""The files that `archive` writes into the folder of a run."""


def build(
    settings: Settings,
    layer: Layer | Literal["all"],
    report: Callable[[str, list[dict]], None] | None = None,
    *,
    full_refresh: bool = False,
    unit_tests: bool = False,
) -> Build:
    """Build a layer, or all three, and run its data tests.

    Parameters
    ----------
    report
        Called when the build fails, as `Notebook.report` is, with its tests and the totals that it compared.
    full_refresh
        Rebuild incremental models from scratch.
    unit_tests
        Run dbt's unit tests as well. Their inputs are fixed, so they say nothing about a run's data, and dbt
        recommends them for development only: `make test` and `dbt build` typed by hand run them.

    Raises
    ------
    TransformError
        The layer before is missing, or a model or a test failed; the sentence names it.
    WarehouseLocked
        Another process has the warehouse open.
    """
    layers = tuple(SELECTION) if layer == "all" else (layer,)
    if layer != "all" and layer not in SELECTION:
        raise TransformError(f"There is no layer {layer!r}: choose staging, intermediate, marts or all.")
    parts = []
    for name in layers:
        arguments = ["build", "--select", *SELECTION[name], "--indirect-selection", "buildable"]
        # Open for writing, as dbt will, to report another process's lock here, but do not create a missing file.
        missing = settings.target == "duckdb" and not settings.warehouse_path.exists()
        with closing(warehouse.open_warehouse(settings, read_only=missing, trusted=True)) as connection:
            _require_schema_before(connection, name)
            if _exceeds_memory(connection, settings, name, full_refresh):
                arguments += ["--threads", "1"]
        # `archive` writes the manifest, once and without the paths of this machine.
        arguments.append("--no-write-json")
        if not unit_tests:
            arguments += ["--exclude-resource-type", "unit_test"]
        _results_file(settings, name).unlink(missing_ok=True)
        arguments += ["--full-refresh"] if full_refresh else []
        lock.check_lease(settings)
        outcome = dbt_runner.invoke(settings, arguments)
        results = list(getattr(outcome.result, "results", ()))
        if results:
            outcome.result.write(str(_results_file(settings, name)))
        if failure := failures.describe(settings, name, outcome, results):
            if report is not None:
                report("tests", Build(name, (), _tests(results)).test_records())
                report("reconciliation", failures.reconciliation_records(settings, results))
            raise TransformError(failure)
        parts.append(_build_of(settings, name, results))
        nodes = [result.node for result in results]
        models = [node for node in nodes if str(node.resource_type) == "model"]
        tests = [node for node in nodes if str(node.resource_type) == "test"]
        contracts.save(dbt_runner.target(settings) / "layers", name, contracts.from_dbt_nodes(models, tests))
    return Build(layer, tuple(m for p in parts for m in p.models), tuple(t for p in parts for t in p.tests))


def archive(settings: Settings, run_dir: Path) -> Path:
    """Write dbt's artifacts of the newest builds into ``dbt/`` in a run's folder.

    Returns
    -------
    Path
        The folder with manifest.json, run_results.json (of all layers built), catalog.json, and index.html, the
        documentation as one file that needs no server.

    Raises
    ------
    TransformError
        Nothing has been built yet, or dbt could not write the documentation.
    """
    results = _merged_results(settings)
    target = dbt_runner.target(settings)
    outcome = dbt_runner.parse(settings, target / "manifest.json")
    if outcome.success:
        outcome = dbt_runner.invoke(settings, ["docs", "generate", "--static", "--no-compile"])
    if not outcome.success:
        raise TransformError(f"dbt could not write the documentation: {failures.error_text(outcome.exception)}")
    folder = run_dir / "dbt"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "catalog.json"):
        shutil.copyfile(target / name, folder / name)
    page = (target / "static_index.html").read_text("utf-8")
    for name in ("manifest.json", "catalog.json"):
        # dbt pastes both into a script element, which a name or value in the data could close.
        embedded = (target / name).read_text("utf-8")
        page = page.replace(embedded, embedded.replace("<", "\\u003c"))
    write_private(folder / "index.html", page)
    write_private(folder / "run_results.json", json.dumps(results))
    return folder


def _require_schema_before(connection: duckdb.DuckDBPyConnection, layer: str) -> None:
    schema, notebook = SCHEMA_BEFORE[layer]
    if not _table_count(connection, schema):
        raise TransformError(f"The warehouse has no {schema} to build the layer {layer} from: run {notebook} first.")


def _exceeds_memory(connection: duckdb.DuckDBPyConnection, settings: Settings, layer: str, full_refresh: bool) -> bool:
    """Whether this is a full build of a warehouse larger than the memory limit.

    Two concurrent queries then share the memory and spill to disk where one alone would not: at a million customers
    two threads of dbt made the intermediate layer a fifth slower. On a small warehouse they make it a fifth faster.
    """
    if settings.target != "duckdb":
        return False
    if not full_refresh and _table_count(connection, f"ecom_{layer}"):
        return False
    [(memory,)] = connection.execute("select parse_formatted_bytes(current_setting('memory_limit'))").fetchall()
    return settings.warehouse_path.stat().st_size > int(memory)


def _table_count(connection: duckdb.DuckDBPyConnection, schema: str) -> int:
    query = "select count(*) from duckdb_tables() where schema_name = ? and database_name = current_database()"
    [(count,)] = connection.execute(query, [schema]).fetchall()
    return int(count)


def _build_of(settings: Settings, layer: str, results: list) -> Build:
    built = [r.node for r in results if str(r.node.resource_type) in ("model", "seed")]
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        models = tuple(sorted((_model(connection, node) for node in built), key=lambda model: model.name))
    return Build(layer, models, _tests(results))


def _tests(results: list) -> tuple[Test, ...]:
    """The tests that ran."""
    ran = [r for r in results if str(r.node.resource_type) in ("test", "unit_test") and str(r.status) != "skipped"]
    return tuple(sorted((_test(result) for result in ran), key=lambda test: test.name))


def _model(connection: duckdb.DuckDBPyConnection, node: Any) -> Model:
    [(rows,)] = connection.execute(f"select count(*) from {node.schema}.{node.alias}").fetchall()
    return Model(
        name=node.name,
        schema=node.schema,
        kind=node.config.materialized,
        rows=rows,
        grain=tuple(node.config.meta.get("grain", ())),
        description=" ".join(node.description.split("\n\n")[0].split()),  # the first paragraph is the summary
        reads=tuple(sorted({_name(unique_id) for unique_id in getattr(node.depends_on, "nodes", ())})),
    )


def _test(result: Any) -> Test:
    node = result.node
    kind = "unit" if str(node.resource_type) == "unit_test" else "data"
    # A singular test belongs to the last model that it reads.
    attached = getattr(node, "attached_node", None) or next(reversed(node.depends_on.nodes), "")
    model = _name(getattr(node, "tested_node_unique_id", None) or attached)
    columns = failures.failing_columns(result)
    return Test(node.name, model, kind, str(result.status), int(result.failures or 0), node.description or "", columns)


def _name(unique_id: str) -> str:
    return unique_id.split(".")[-1]


def _results_file(settings: Settings, layer: str) -> Path:
    """The file with the results of a layer's newest build; dbt overwrites its own run_results.json."""
    folder = dbt_runner.target(settings) / "layers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{layer}.json"


def _merged_results(settings: Settings) -> dict:
    files = [_results_file(settings, layer) for layer in SELECTION]
    results = [json.loads(file.read_text("utf-8")) for file in files if file.exists()]
    if not results:
        raise TransformError(
            "dbt has built nothing yet: run notebooks/pipeline/04_staging.ipynb first, or `make pipeline`."
        )
    return {
        **results[-1],
        "elapsed_time": sum(part["elapsed_time"] for part in results),
        "results": [result for part in results for result in part["results"]],
    }
