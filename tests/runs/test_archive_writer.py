"""dbt's artifacts in the archive: complete, private and redacted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from duckbook.redaction import Redactor
from duckbook.runs import run_archive
from duckbook.runs.archive_writer import ArchiveWriter
from duckbook.runs.chain import Step
from duckbook.runs.run_archive import Run
from duckbook.runs.watchdog import Watchdog

SECRET = "planted-SECRET-of-a-test"


@pytest.fixture
def archived(built_shop, tmp_path):
    """A function that archives the shop's build as a run would, and returns the record and folder of the run."""

    def archive(**environment: str) -> tuple[dict, Path]:
        shop, _ = built_shop
        run = Run.begin(tmp_path / "runs", target="duckdb", as_of=None, parameters={}, steps=[("marts", "06.ipynb")])
        watchdog = Watchdog(run.folder)
        env = os.environ | {"DUCKBOOK_DATA": str(shop.data), "DUCKBOOK_RUNS": str(tmp_path / "runs")} | environment
        writer = ArchiveWriter(env, run, [Step("marts", Path("06.ipynb"), group="transform")], watchdog, shop.data)
        run.step_started("marts")
        run.step_ended("marts", run_archive.SUCCEEDED)
        writer.after_step("marts")
        run.end(run_archive.SUCCEEDED)
        writer.end(Redactor([SECRET]))
        watchdog.dismiss()
        assert not list((shop.data / "tmp").glob("dbt-*"))
        return run.record, run.folder

    return archive


def test_dbts_artifacts_in_the_archive_are_private(archived):
    record, folder = archived()
    assert (record["status"], record.get("dbt_archive")) == ("succeeded", None)
    found = {path.name for path in (folder / "dbt").iterdir()}
    assert found == {"manifest.json", "run_results.json", "catalog.json", "index.html"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder / "dbt", *(folder / "dbt").iterdir()])


def test_a_secret_in_dbts_artifacts_is_replaced_and_fails_the_run(archived):
    # dbt writes variables with this prefix into its manifest.
    record, folder = archived(DBT_ENV_CUSTOM_ENV_PLANTED=SECRET)
    assert record["status"] == "failed"
    assert "A secret was found in dbt's artifacts" in record["error"]
    texts = {path.name: path.read_text("utf-8") for path in (folder / "dbt").iterdir()}
    assert any("***" in text for text in texts.values())
    assert [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text("utf-8")] == []
