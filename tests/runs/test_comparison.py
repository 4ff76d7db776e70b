"""The comparison of two runs shows differences only."""

from __future__ import annotations

from chains import duckbook
from duckbook.runs import comparison, run_archive
from duckbook.runs.run_archive import Run
from duckbook.settings import Settings


def record(archive, *, seconds: float, orders: int, **more) -> dict:
    run = Run.begin(
        archive,
        target="duckdb",
        as_of="2026-06-30",
        parameters={"customers": 500, "seed": more.get("seed", 42)},
        steps=[("ingest", "03.ipynb"), ("marts", "06.ipynb")],
        versions={"duckdb": more.get("duckdb", "1.5.5")},
        git={"commit": "0123456789abcdef", "dirty": more.get("dirty", False)},
        code={"lib/duckbook/ingest": more.get("raw", "aaa"), "dbt/macros": "same"},
    )
    run.step_started("ingest")
    run.step_ended("ingest", run_archive.SUCCEEDED)
    run.step("ingest")["seconds"] = seconds
    run.record["tables"] = [{"table": "orders", "landed": orders, "raw": 100 + orders, "staged": 90}]
    run.record["facts"] = {"figures": [{"name": "Orders", "value": orders, "unit": "orders"}]}
    run.end(run_archive.SUCCEEDED)
    run.record["seconds"] = seconds + 1
    run.save()
    return run.record


def test_differences_are_shown_with_their_change(tmp_path):
    old = record(tmp_path, seconds=2.0, orders=10)
    new = record(tmp_path, seconds=3.5, orders=11, seed=7, duckdb="1.5.6", raw="bbb", dirty=True)
    found = {section.title: section.rows for section in comparison.compare(old, new)}
    assert found["Parameters"] == (("seed", "42", "7"),)
    assert found["Versions"] == (
        ("duckdb", "1.5.5", "1.5.6"),
        ("commit", "0123456789ab", "0123456789ab, with changes"),
    )
    assert found["Code"] == (("lib/duckbook/ingest", "aaa", "bbb"),)
    assert found["Seconds of each step"] == (
        ("ingest", "2.0", "3.5", "+1.5"),
        ("the whole run", "3.0", "4.5", "+1.5"),
    )
    assert found["Rows that differ"] == (("orders: landed", "10", "11", "+1"), ("orders: raw", "110", "111", "+1"))
    assert found["Headline figures"] == (("Orders", "10", "11", "+10.00%"),)


def test_a_run_does_not_differ_from_itself(tmp_path):
    run = record(tmp_path, seconds=2.0, orders=10)
    for section in comparison.compare(run, run):
        for _, before, after, *change in section.rows:
            assert before == after
            assert change in ([], ["+0.0"], ["+0.00%"])


def test_the_command_compares_with_the_newest_run(tmp_path):
    shop = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    old = record(shop.runs, seconds=2.0, orders=10)
    new = record(shop.runs, seconds=2.0, orders=12)
    process = duckbook(shop, "compare", old["run_id"])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"Before: run {old['run_id']}. After: run {new['run_id']}." in out
    assert "+20.00%" in out
    assert "Parameters: no difference." in out
    process = duckbook(shop, "compare", "20200101")
    assert "There is no run 20200101" in process.communicate(timeout=60)[1]
    assert process.returncode == 1
