"""dbt, run in this process, a layer at a time: raw → staging → intermediate → marts.

What the layers hold stands in ``dbt/``; this module runs it, tells what was built and tested, and puts dbt's own
artifacts into a run's folder. Every run of one store shares a target folder (``data/dbt``), so that only the first
one parses the whole project. ``dbt build`` typed in ``dbt/`` does the same without this module.
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
"""What each layer builds. A test that spans layers runs with the later one (dbt's selection ``buildable``)."""

SCHEMA_BEFORE = {
    "staging": ("ecom_raw", "03_ingest.ipynb"),
    "intermediate": ("ecom_staging", "04_staging.ipynb"),
    "marts": ("ecom_intermediate", "05_intermediate.ipynb"),
}
"""Layer → the schema that it reads, and the notebook that makes it."""

ARTIFACTS = ("manifest.json", "run_results.json", "catalog.json", "index.html")
"""What `archive` leaves in the folder of a run."""


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
    settings
        Name the warehouse and the target.
    layer
        ``staging``, ``intermediate``, ``marts`` or ``all``.
    report
        Takes what a build that fails found, as `Notebook.report` does: its tests, and the totals that it compared.
    full_refresh
        Build incremental models anew from all that they read.
    unit_tests
        Run dbt's unit tests as well. Their inputs are fixed, so they tell nothing new about a run's data, and dbt's
        own advice is to keep them to development: `make test` and `dbt build` typed by hand run them.

    Raises
    ------
    TransformError
        The layer before is missing, or a model or a test failed; the sentence names it.
    WarehouseLocked
        Another process has the warehouse open.
    """
    layers = tuple(SELECTION) if layer == "all" else (layer,)
    if layer != "all" and layer not in SELECTION:
        raise TransformError(f"There is no layer {layer!r}: say staging, intermediate, marts or all.")
    parts = []
    for name in layers:
        arguments = ["build", "--select", *SELECTION[name], "--indirect-selection", "buildable"]
        # Opened for writing, as dbt will, so that another process's lock is told here; a missing file is not made.
        missing = settings.target == "duckdb" and not settings.warehouse_path.exists()
        with closing(warehouse.open_warehouse(settings, read_only=missing, trusted=True)) as connection:
            _expect_the_layer_before(connection, name)
            if _is_too_large_for_two(connection, settings, name, full_refresh):
                arguments += ["--threads", "1"]
        # dbt would write its manifest twice a run, which costs a second; `archive` writes it.
        arguments.append("--no-write-json")
        if not unit_tests:
            arguments += ["--exclude-resource-type", "unit_test"]
        _kept_results(settings, name).unlink(missing_ok=True)
        arguments += ["--full-refresh"] if full_refresh else []
        lock.check_lease(settings)
        outcome = dbt_runner.invoke(settings, arguments, manifest=dbt_runner.take_held(settings))
        results = list(getattr(outcome.result, "results", ()))
        if results:
            outcome.result.write(str(_kept_results(settings, name)))
        if told := failures.sentence(settings, name, outcome, results):
            if report is not None:
                report("tests", Build(name, (), _tests(results)).test_records())
                report("reconciliation", failures.reconciled(settings, results))
            raise TransformError(told)
        parts.append(_told(settings, name, results))
        nodes = [result.node for result in results]
        models = [node for node in nodes if str(node.resource_type) == "model"]
        tests = [node for node in nodes if str(node.resource_type) == "test"]
        contracts.write(dbt_runner.target(settings) / "layers", name, contracts.of_nodes(models, tests))
    return Build(layer, tuple(m for p in parts for m in p.models), tuple(t for p in parts for t in p.tests))


def prepare(settings: Settings, apart: bool = False) -> None:
    """Parse the project, and keep that for the next build of this process, or of one that splits off from it.

    Takes seconds for a project that was never parsed in this checkout, and opens no warehouse.

    Parameters
    ----------
    apart
        Whether what is kept in memory is lost, so that nothing is done that takes no seconds.
    """
    if not (apart and dbt_runner.is_parsed(settings)):
        dbt_runner.hold(settings)


def archive(settings: Settings, run_dir: Path) -> Path:
    """Put dbt's artifacts of the newest builds into a run's folder.

    Parameters
    ----------
    settings
        Name the store whose builds are archived.
    run_dir
        Folder of the run; the artifacts go into ``dbt/`` below it.

    Returns
    -------
    Path
        The folder with manifest.json, run_results.json (of all layers built), catalog.json and index.html, the
        documentation in one file that needs no server.

    Raises
    ------
    TransformError
        Nothing has been built yet, or dbt could not write the documentation.
    """
    from dbt.parser.manifest import write_manifest

    results = _merged_results(settings)
    target = dbt_runner.target(settings)
    manifest = dbt_runner.take_held(settings)
    if manifest is None:
        outcome = dbt_runner.invoke(settings, ["parse", "--no-write-json"])
        manifest = outcome.result
    if manifest is not None:
        write_manifest(manifest, str(target))  # which no build does
        outcome = dbt_runner.invoke(settings, ["docs", "generate", "--static", "--no-compile"], manifest=manifest)
    if not outcome.success:
        raise TransformError(f"dbt could not write the documentation: {failures.first_line(outcome.exception)}")
    folder = run_dir / "dbt"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "catalog.json"):
        shutil.copyfile(target / name, folder / name)
    page = (target / "static_index.html").read_text("utf-8")
    for name in ("manifest.json", "catalog.json"):
        # dbt pastes both into a script, which a name or a value of the data could end.
        pasted = (target / name).read_text("utf-8")
        page = page.replace(pasted, pasted.replace("<", "\\u003c"))
    write_private(folder / "index.html", page)
    write_private(folder / "run_results.json", json.dumps(results))
    return folder


def _expect_the_layer_before(connection: duckdb.DuckDBPyConnection, layer: str) -> None:
    schema, notebook = SCHEMA_BEFORE[layer]
    if not _tables(connection, schema):
        raise TransformError(f"The warehouse has no {schema} to build the layer {layer} from: run {notebook} first.")


def _is_too_large_for_two(
    connection: duckdb.DuckDBPyConnection, settings: Settings, layer: str, full_refresh: bool
) -> bool:
    """Whether a layer without a table yet is built, or one is refreshed, of a file larger than what memory may hold.

    Two of its queries at once share the memory and spill what either alone would not: at a million customers two nodes
    at a time made the intermediate layer a fifth slower, where they make a small one a fifth quicker.
    """
    if settings.target != "duckdb":
        return False
    if not full_refresh and _tables(connection, f"ecom_{layer}"):
        return False
    (memory,) = connection.execute("select parse_formatted_bytes(current_setting('memory_limit'))").fetchone()
    return settings.warehouse_path.stat().st_size > memory


def _tables(connection: duckdb.DuckDBPyConnection, schema: str) -> int:
    return connection.execute(
        "select count(*) from duckdb_tables() where schema_name = ? and database_name = current_database()", [schema]
    ).fetchone()[0]


def _told(settings: Settings, layer: str, results: list) -> Build:
    built = [r.node for r in results if str(r.node.resource_type) in ("model", "seed")]
    with closing(warehouse.open_warehouse(settings, read_only=True, trusted=True)) as connection:
        models = tuple(sorted((_model(connection, node) for node in built), key=lambda model: model.name))
    return Build(layer, models, _tests(results))


def _tests(results: list) -> tuple[Test, ...]:
    """The tests among the results that ran."""
    ran = [r for r in results if str(r.node.resource_type) in ("test", "unit_test") and str(r.status) != "skipped"]
    return tuple(sorted((_test(result) for result in ran), key=lambda test: test.name))


def _model(connection: duckdb.DuckDBPyConnection, node: Any) -> Model:
    (rows,) = connection.execute(f"select count(*) from {node.schema}.{node.alias}").fetchone()
    return Model(
        name=node.name,
        schema=node.schema,
        kind=node.config.materialized,
        rows=rows,
        grain=tuple(node.config.meta.get("grain", ())),
        description=" ".join(node.description.split("\n\n")[0].split()),  # a page opens with its summary
        reads=tuple(sorted({_name(unique_id) for unique_id in getattr(node.depends_on, "nodes", ())})),
    )


def _test(result: Any) -> Test:
    node = result.node
    kind = "unit" if str(node.resource_type) == "unit_test" else "data"
    # A test that is written by itself, and not in a model's YAML, stands with the last model that it reads.
    attached = getattr(node, "attached_node", None) or next(reversed(node.depends_on.nodes), "")
    model = _name(getattr(node, "tested_node_unique_id", None) or attached)
    columns = failures.columns_at_fault(result)
    return Test(node.name, model, kind, str(result.status), int(result.failures or 0), node.description or "", columns)


def _name(unique_id: str) -> str:
    return unique_id.split(".")[-1]


def _kept_results(settings: Settings, layer: str) -> Path:
    """Where the results of a layer's newest build are kept: each run of dbt overwrites run_results.json."""
    folder = dbt_runner.target(settings) / "layers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{layer}.json"


def _merged_results(settings: Settings) -> dict:
    files = [_kept_results(settings, layer) for layer in SELECTION]
    kept = [json.loads(file.read_text("utf-8")) for file in files if file.exists()]
    if not kept:
        raise TransformError("dbt has built nothing yet: run 04_staging.ipynb first, or `make pipeline`.")
    return {
        **kept[-1],
        "elapsed_time": sum(part["elapsed_time"] for part in kept),
        "results": [result for part in kept for result in part["results"]],
    }
