"""Conventions of the dbt project: every model has a tested grain, described columns and a contract."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from duckbook.backends import warehouse
from duckbook.runs.chain import CHAIN_FILE, Step, read_chain
from duckbook.settings import ROOT
from duckbook.source_tables import source_tables
from duckbook.transform import dbt_layers

MODELS = sorted((ROOT / "dbt" / "models").glob("**/*.sql"))

CLOCKS_AND_PLACES = re.compile(
    r"\b(current_date|current_timestamp|current_localtimestamp|get_current_timestamp|now\(|today\(|random\(|uuid\("
    r"|read_parquet|read_csv|read_json|parquet_scan|httpfs|s3://|attach |postgres_|run_started_at|invocation_id)",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def manifest(built_shop, tmp_path_factory) -> dict[str, dict]:
    archived = dbt_layers.archive(built_shop[0], tmp_path_factory.mktemp("archive"))
    return json.loads((archived / "manifest.json").read_text())


@pytest.fixture(scope="module")
def nodes(manifest) -> dict[str, dict]:
    return manifest["nodes"]


@pytest.fixture(scope="module")
def models(nodes) -> list[dict]:
    return [node for node in nodes.values() if node["resource_type"] in ("model", "seed")]


@pytest.fixture(scope="module")
def columns(built_shop) -> dict[str, dict[str, str]]:
    """Relation → column → type, in the warehouse."""
    with warehouse.open_warehouse(built_shop[0], read_only=True) as connection:
        found = connection.execute(
            "select table_schema || '.' || table_name, column_name, lower(data_type) from information_schema.columns"
        ).fetchall()
    relations: dict[str, dict[str, str]] = {}
    for relation, column, kind in found:
        relations.setdefault(relation, {})[column] = kind
    return relations


def test_every_model_is_described_with_its_grain_in_words(models):
    for model in models:
        assert model["description"], model["name"]
        assert model["config"]["meta"]["grain"], model["name"]
        # Complete, as on dbt's pages: an unquoted comma in the YAML would end the text and begin another key.
        assert re.fullmatch(r"One row per [^.]+\.", model["config"]["meta"]["grain_in_words"]), model["name"]
        assert None not in model["config"]["meta"].values(), model["name"]


def test_every_grain_is_held_by_a_test(nodes, models):
    tested = {
        (node["attached_node"], tuple(node["test_metadata"]["kwargs"]["columns"]))
        for node in nodes.values()
        if node["resource_type"] == "test" and node.get("test_metadata", {}).get("name") == "is_unique_by"
    }
    for model in models:
        assert (model["unique_id"], tuple(model["config"]["meta"]["grain"])) in tested, model["name"]


def test_every_column_is_described_with_its_type_and_no_other(models, columns):
    for model in models:
        found = columns[f"{model['schema']}.{model['name']}"]
        declared = {name: (column["data_type"] or "").lower() for name, column in model["columns"].items()}
        assert declared == {name: kind.replace(" ", "") for name, kind in found.items()}, model["name"]
        assert all(column["description"] for column in model["columns"].values()), model["name"]


def test_every_mart_is_under_an_enforced_contract(models):
    marts = [model for model in models if model["schema"] == "ecom_marts"]
    assert len(marts) > 15
    for mart in marts:
        assert mart["config"]["contract"]["enforced"], mart["name"]
        for name in mart["config"]["meta"]["grain"]:
            assert mart["columns"][name]["constraints"], f"{mart['name']}.{name} may be null"


def test_every_key_of_a_mart_leads_to_a_member_and_a_test_holds_it(nodes, models):
    tested = {
        (node["attached_node"], reference["column"])
        for node in nodes.values()
        if node["resource_type"] == "test" and node.get("test_metadata", {}).get("name") == "keys_and_values_are_known"
        for reference in node["test_metadata"]["kwargs"].get("references", [])
    }
    for model in models:
        if model["schema"] != "ecom_marts":
            continue
        for name in model["columns"]:
            is_its_own = model["config"]["meta"]["grain"] == [name]
            # dim_dates has days, not months.
            if name.endswith("_key") and not name.endswith("month_key") and not is_its_own:
                assert (model["unique_id"], name) in tested, f"{model['name']}.{name}"


OF_EVERY_MART = ("pipeline/07_publish.ipynb", "explore/06_all_marts.ipynb", "pipeline/08_bi.ipynb")
"""Notebooks that read all marts without naming each."""


def reads_of(step: Step) -> set[str]:
    """Return the marts that a notebook names, and those of the customer features if it loads them."""
    text = step.notebook.read_text("utf-8")
    if "features.dictionary(" in text:
        text += "".join(
            (ROOT / "lib" / "duckbook" / "analysis" / f"{name}.sql").read_text("utf-8")
            for name in ("features", "labels")
        )
    return set(re.findall(r"ecom_marts\.(\w+)", text))


def test_every_notebook_that_reads_marts_has_an_exposure_that_names_them(manifest):
    exposures = {node["config"]["meta"]["notebook"]: node for node in manifest["exposures"].values()}
    # A notebook that builds a layer is not an exposure.
    names = {step: step.notebook.relative_to(CHAIN_FILE.parent).as_posix() for step in read_chain()}
    reading = {names[step]: reads_of(step) for step in read_chain() if step.layer is None and reads_of(step)}
    assert len(reading) > 8
    assert set(exposures) == set(reading)
    for name, read in reading.items():
        declared_marts = {unique_id.split(".")[-1] for unique_id in exposures[name]["depends_on"]["nodes"]}
        assert declared_marts == read or (name in OF_EVERY_MART and declared_marts > read), name
    marts = {node["unique_id"] for node in manifest["nodes"].values() if node["schema"] == "ecom_marts"}
    for name in OF_EVERY_MART:
        of_every_mart = set(exposures[name]["depends_on"]["nodes"])
        assert of_every_mart == {unique_id for unique_id in marts if unique_id.startswith("model.")}


def test_every_source_table_has_a_threshold_of_freshness(manifest):
    for node in manifest["sources"].values():
        if node["name"] in source_tables():
            assert node["meta"]["fresh_within_days"] > 0, node["name"]


def test_every_measure_marked_additive_is_reconciled_and_no_other(built_shop, models):
    with warehouse.open_warehouse(built_shop[0], read_only=True) as connection:
        found = set(connection.execute("select mart, measure from ecom_marts.reconciliation").fetchall())
    marked = {
        (model["name"], name)
        for model in models
        for name, column in model["columns"].items()
        if column["config"]["meta"].get("additive")
    }
    assert found == marked


def test_money_is_decimal_and_nothing_is_a_floating_point_number(columns):
    kinds = {
        (relation, column): kind
        for relation, found in columns.items()
        for column, kind in found.items()
        if relation.startswith(("ecom_staging", "ecom_intermediate", "ecom_marts"))
    }
    assert not [column for column, kind in kinds.items() if kind in ("double", "float", "real")]
    for (relation, column), kind in kinds.items():
        if column.endswith(("_amount", "_price")) or column in ("revenue", "cost"):
            assert kind.startswith("decimal"), (relation, column)


def test_staging_has_the_columns_and_types_of_the_sources_file(columns):
    for name, table in source_tables().items():
        declared = {column.name: column.data_type.lower() for column in table.columns}
        for relation in (f"ecom_staging.base_{name}", f"ecom_staging.stg_{name}"):
            found = {c: kind for c, kind in columns[relation].items() if not c.startswith("_")}
            assert found == declared, relation


def test_a_base_model_rejects_by_the_casts_of_the_sources_file():
    for name, table in source_tables().items():
        text = (ROOT / "dbt" / "models" / "staging" / "base" / f"base_{name}.sql").read_text()
        casts = dict(re.findall(r"'(\w+)': '([\w(),]+)'", text))
        assert casts == {c.name: c.data_type for c in table.columns if c.data_type != "varchar"}, name
        (key,) = re.findall(r"\bkey=\[([^\]]+)\]", text)
        assert tuple(re.findall(r"'(\w+)'", key)) == table.key, name
        updated_at = re.search(r"updated_at='(\w+)'", text)
        assert (updated_at and updated_at[1]) == table.update_time, name


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_reads_no_clock_no_file_and_no_server(path):
    assert not CLOCKS_AND_PLACES.findall(path.read_text())


def test_the_text_of_each_mutant_stands_once_in_its_file():
    """`make mutate` stops at a mutant whose text is missing or not unique."""
    mutants = yaml.safe_load((ROOT / "tests" / "mutate" / "mutants.yml").read_text("utf-8"))
    texts = {mutant["file"]: (ROOT / "dbt" / mutant["file"]).read_text("utf-8") for mutant in mutants}
    assert [mutant["name"] for mutant in mutants if texts[mutant["file"]].count(mutant["old"]) != 1] == []
    assert len({mutant["name"] for mutant in mutants}) == len(mutants)
