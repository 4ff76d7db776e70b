"""The exploration of the marts shows a change of any number of a published mart by one per cent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb
import nbformat
import pytest
from chains import duckbook
from duckbook.analysis import mart_summary
from duckbook.ops import committed_outputs
from duckbook.publish import publisher
from duckbook.runs.chain import read_chain
from duckbook.settings import Settings
from nbclient import NotebookClient
from shop import copy_of

(EXPLORATION,) = (step.notebook for step in read_chain() if step.name == "explore_marts")


@pytest.fixture
def shop(built_shop, tmp_path) -> Settings:
    """A copy of the shop, published."""
    settings = copy_of(built_shop[0], tmp_path)
    publisher.publish(settings, "a")
    return settings


def marts(settings: Settings) -> dict[str, Path]:
    folder = settings.data / "published" / publisher.current(settings).run_id
    return {file.stem: file for file in sorted(folder.glob("*.parquet"))}


def change_one_number_of_each_column(file: Path) -> set[str]:
    """Change one number of each column by one per cent, at least one unit of its last digit; return the columns."""
    with duckdb.connect() as connection:
        connection.execute(f"create table mart as select *, row_number() over () as n from '{file}'")
        kinds = {name: kind for name, kind, *_ in connection.execute("describe mart").fetchall() if name != "n"}
        changed = set()
        for name in set(mart_summary.numeric_columns(connection, "mart")) - {"n"}:
            places = int(kinds[name].rstrip(")").split(",")[1]) if "," in kinds[name] else 0
            found = connection.execute(
                f'update mart set "{name}" = "{name}" + greatest(round(abs("{name}") / 100, {places}), 1e-{places}) '
                f'where n = (select n from mart where "{name}" <> 0 order by abs("{name}") desc, n limit 1)'
            ).fetchone()
            changed |= {name} if found[0] else set()
        connection.execute(f"copy (select * exclude (n) from mart) to '{file}' (format parquet)")
    return changed


def shown(readers: publisher.Published, mart: str) -> dict[str, tuple]:
    """Column → its row in the exploration of the marts."""
    table = mart_summary.figures(readers.connection, f"ecom_marts.{mart}")
    return {row["column"]: tuple(row.values()) for row in table.to_dict("records")}


def test_a_change_of_any_number_of_any_mart_is_shown(shop):
    with publisher.published(shop) as readers:
        for mart, file in marts(shop).items():
            before = shown(readers, mart)
            changed = change_one_number_of_each_column(file)
            after = shown(readers, mart)
            assert {name for name in after if after[name] != before[name]} == changed, mart


def test_figures_are_formatted_like_tables():
    with duckdb.connect() as connection:
        connection.execute(
            "create table mart (calendar_year int, day_of_year int, margin decimal(18, 2), seen_on date)"
        )
        connection.execute("insert into mart values (2023, 366, -1301.8, '2026-06-30'), (2026, 1, 5, null)")
        found = mart_summary.figures(connection, "mart").set_index("column")
    assert list(found.loc["calendar_year", ["least", "most", "total"]]) == ["2023", "2026", "4,049"]
    assert list(found.loc["day_of_year", ["least", "most", "total"]]) == ["1", "366", "367"]
    assert list(found.loc["margin", ["least", "most", "total"]]) == ["−1,301.80", "5.00", "−1,296.80"]
    assert list(found.loc["seen_on", ["filled", "missing", "least", "total"]]) == [1, 1, "2026-06-30", "–"]


def test_every_published_mart_is_shown_with_all_its_numbers(shop):
    cells = json.loads(EXPLORATION.read_text("utf-8"))["cells"]
    texts = [
        "".join(output["data"].get("text/markdown", output["data"].get("text/plain", "")))
        for cell in cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    with publisher.published(shop) as readers:
        for mart in marts(shop):
            words = texts[texts.index(f"### `{mart}`") + 1].split()
            assert [name for name in shown(readers, mart) if name not in words] == [], mart


def test_a_change_of_any_mart_changes_the_committed_outputs(soak, tmp_path, monkeypatch):
    """In `make soak`: run the notebook on the canonical shop for each changed mart, and compare as nbval does."""
    if not soak:
        pytest.skip("takes some minutes: make soak")
    for name, value in committed_outputs.canonical_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    shop = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    output, _ = duckbook(
        shop, "run", "--until", "publish", **committed_outputs.canonical_environment(tmp_path)
    ).communicate()
    assert "succeeded" in output
    duckbook(shop, "down").communicate()
    committed = texts_of(nbformat.read(EXPLORATION, as_version=4))
    assert executed() == committed
    for file in marts(shop).values():
        whole = file.read_bytes()
        # A mart of places has no numbers to change.
        if change_one_number_of_each_column(file):
            assert executed() != committed, file.stem
        file.write_bytes(whole)


def executed() -> list:
    document = nbformat.read(EXPLORATION, as_version=4)
    # The notebook's own checks may detect the change and stop it, which is a failure in nbval too.
    NotebookClient(document, timeout=120, kernel_name="python3", allow_errors=True).execute(env=dict(os.environ))
    return texts_of(document)


def texts_of(document) -> list:
    outputs_of = (output for cell in document.cells for output in cell.get("outputs", []))
    return [output.get("data", output).get("text/plain", output.get("evalue")) for output in outputs_of]
