"""dbt, run in this process, a layer at a time: raw → staging → intermediate → marts.

What the layers hold stands in ``dbt/``; this module runs it, tells what was built and tested, and puts dbt's own
artifacts into a run's folder. Every run of one store shares a target folder (``data/dbt``), so that only the first
one parses the whole project. ``dbt build`` typed in ``dbt/`` does the same without this module.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from duckbook import warehouse
from duckbook.built import Build, Model, Test
from duckbook.errors import TransformError
from duckbook.settings import ROOT, Settings

if TYPE_CHECKING:
    import duckdb

PROJECT = ROOT / "dbt"

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


QUIETLY = (
    *("--quiet", "--log-level", "none", "--log-level-file", "none", "--no-use-colors"),
    *("--no-version-check", "--no-send-anonymous-usage-stats"),
)
"""What dbt would say is in its results, which `build` turns into a sentence."""


def build(
    settings: Settings, layer: Layer | Literal["all"], full_refresh: bool = False, unit_tests: bool = False
) -> Build:
    """Build a layer, or all three, and run its data tests.

    Parameters
    ----------
    settings
        Name the warehouse and the target.
    layer
        ``staging``, ``intermediate``, ``marts`` or ``all``.
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
        _expect_the_layer_before(settings, name)
        arguments = ["build", "--select", *SELECTION[name], "--indirect-selection", "buildable"]
        if not unit_tests:
            arguments += ["--exclude-resource-type", "unit_test"]
        if name != "marts":
            # dbt writes its manifest twice a run, which costs half a second: once for all layers is enough.
            arguments.append("--no-write-json")
        _kept_results(settings, name).unlink(missing_ok=True)
        outcome = _dbt(settings, [*arguments, *(["--full-refresh"] if full_refresh else [])])
        results = list(getattr(outcome.result, "results", ()))
        if results:
            outcome.result.write(str(_kept_results(settings, name)))
        _raise_failures(name, outcome, results)
        parts.append(_told(settings, name, results))
    return Build(layer, tuple(m for p in parts for m in p.models), tuple(t for p in parts for t in p.tests))


def prepare(settings: Settings) -> None:
    """Parse the project for a new store, so that its first build need not: takes seconds, and no warehouse."""
    if not (_target(settings) / "partial_parse.msgpack").exists():
        _dbt(settings, ["parse", "--no-write-json"])


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
    results = _merged_results(settings)
    outcome = _dbt(settings, ["docs", "generate", "--static", "--no-compile"])
    if not outcome.success:
        raise TransformError(f"dbt could not write the documentation: {_first_line(outcome.exception)}")
    target = _target(settings)
    folder = run_dir / "dbt"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "catalog.json"):
        shutil.copyfile(target / name, folder / name)
    shutil.copyfile(target / "static_index.html", folder / "index.html")
    (folder / "run_results.json").write_text(json.dumps(results), "utf-8")
    return folder


def _target(settings: Settings) -> Path:
    return settings.data / "dbt"


def _dbt(settings: Settings, arguments: list[str]) -> Any:
    """Run dbt quietly in this process and close its connections, which would otherwise hold the warehouse's lock."""
    # Imported here: dbt takes two seconds to import.
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    target = str(_target(settings))
    always = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", target, *QUIETLY]
    warehouse.engine_config(settings)  # links the extensions and makes the folders that the profile names
    with _environment(settings):
        try:
            return dbtRunner().invoke([*arguments, *always, "--log-path", target])
        finally:
            DuckDBConnectionManager.close_all_connections()


@contextmanager
def _environment(settings: Settings) -> Iterator[None]:
    """The settings as profiles.yml reads them, for the time of a run."""
    wanted = {
        "DO_NOT_TRACK": "1",
        "DUCKBOOK_DATA": str(settings.data),
        "DUCKBOOK_TARGET": settings.target,
        "DUCKBOOK_MEMORY_LIMIT": settings.memory_limit,
        "DUCKBOOK_MOTHERDUCK_DATABASE": settings.motherduck_database,
    }
    if settings.threads:
        wanted["DUCKBOOK_THREADS"] = str(settings.threads)
    if settings.target == "motherduck":
        wanted["motherduck_token"] = settings.motherduck_token.get_secret_value()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _expect_the_layer_before(settings: Settings, layer: str) -> None:
    schema, notebook = SCHEMA_BEFORE[layer]
    # Opened for writing, as dbt will, so that another process's lock is told here; a file that is missing is not made.
    missing = settings.target == "duckdb" and not settings.warehouse_path.exists()
    with closing(warehouse.open_warehouse(settings, read_only=missing)) as connection:
        found = connection.execute(
            "select count(*) from duckdb_tables() where schema_name = ? and database_name = current_database()",
            [schema],
        ).fetchone()[0]
    if not found:
        raise TransformError(f"The warehouse has no {schema} to build the layer {layer} from: run {notebook} first.")


def _raise_failures(layer: str, outcome: Any, results: list) -> None:
    failed = [r for r in results if str(r.status) in ("error", "fail", "runtime error")]
    if failed:
        told = "; ".join(f"{_kind(r.node)} {r.node.name}: {_reason(r)}" for r in failed[:5])
        more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
        raise TransformError(f"dbt failed in the layer {layer}. {told}{more}.")
    if not outcome.success:
        raise TransformError(f"dbt could not build the layer {layer}: {_first_line(outcome.exception)}")


def _kind(node: Any) -> str:
    kind = str(node.resource_type)
    return "test" if kind in ("test", "unit_test") else kind


def _reason(result: Any) -> str:
    if str(result.node.resource_type) == "test" and str(result.status) == "fail":
        return f"{result.failures} rows fail, found by {result.node.original_file_path}"
    return _first_line(result.message)


def _first_line(error: Any) -> str:
    """The telling lines of dbt's message: it opens with a line that names the node once more."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    frame = ("Runtime Error in", "Compilation Error in", "compiled code at")
    told = [line for line in lines if not line.startswith(frame)]
    return " ".join(told[:6]).rstrip(".") or "no reason given"


def _told(settings: Settings, layer: str, results: list) -> Build:
    built = [r.node for r in results if str(r.node.resource_type) in ("model", "seed")]
    with closing(warehouse.open_warehouse(settings, read_only=True)) as connection:
        models = tuple(sorted((_model(connection, node) for node in built), key=lambda model: model.name))
    tested = [r for r in results if str(r.node.resource_type) in ("test", "unit_test")]
    return Build(layer, models, tuple(sorted(map(_test, tested), key=lambda test: test.name)))


def _model(connection: duckdb.DuckDBPyConnection, node: Any) -> Model:
    (rows,) = connection.execute(f"select count(*) from {node.schema}.{node.alias}").fetchone()
    return Model(
        name=node.name,
        schema=node.schema,
        kind=node.config.materialized,
        rows=rows,
        grain=tuple(node.config.meta.get("grain", ())),
        description=node.description,
        reads=tuple(sorted({_name(unique_id) for unique_id in getattr(node.depends_on, "nodes", ())})),
    )


def _test(result: Any) -> Test:
    node = result.node
    kind = "unit" if str(node.resource_type) == "unit_test" else "data"
    # A test that is written by itself, and not in a model's YAML, stands with the last model that it reads.
    attached = getattr(node, "attached_node", None) or next(reversed(node.depends_on.nodes), "")
    model = _name(getattr(node, "tested_node_unique_id", None) or attached)
    return Test(node.name, model, kind, str(result.status), int(result.failures or 0), node.description or "")


def _name(unique_id: str) -> str:
    return unique_id.split(".")[-1]


def _kept_results(settings: Settings, layer: str) -> Path:
    """Where the results of a layer's newest build are kept: each run of dbt overwrites run_results.json."""
    folder = _target(settings) / "layers"
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
