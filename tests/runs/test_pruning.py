"""Pruning removes old runs, publications and leftovers, and nothing else."""

from __future__ import annotations

import itertools
import json
import os
import time

import pytest
from chains import duckbook
from duckbook.backends import data_folder, servers, storage
from duckbook.backends.lock import one_writer
from duckbook.errors import ChainError, PublishError, WarehouseError
from duckbook.ingest import batches, commit_log
from duckbook.ops import remaining_copies
from duckbook.publish import publisher
from duckbook.runs import page, provenance, pruning, run_archive
from duckbook.runs.run_archive import Run
from duckbook.settings import Settings


def settings(folder, **chosen) -> Settings:
    return Settings(data=folder / "data", runs=folder / "runs", _env_file=None, **chosen)


def run_that(shop: Settings, status: str, /, **more) -> str:
    record = Run.begin(shop.runs, target="duckdb", as_of=None, parameters={}, steps=[("one", "one.ipynb")])
    record.record |= more
    if status != run_archive.RUNNING:
        record.end(status)
    page.write_all(record.folder)
    return record.folder.name


def publication(shop: Settings, name: str, age: int) -> None:
    """Write a publication with a file of 1,000 bytes, `age` seconds old."""
    folder = shop.data / "published" / name
    folder.mkdir(parents=True)
    (folder / "dim_dates.parquet").write_bytes(b"x" * 1000)
    file = folder / "publication.json"
    file.write_text(json.dumps({"run_id": name, "as_of": "2026-06-30", "marts": {"dim_dates": {"rows": 1}}}))
    then = time.time() - age
    os.utime(file, (then, then))


def names(found) -> list[tuple[str, str]]:
    return [(removal.kind, removal.name) for removal in found[0]]


def test_old_runs_are_removed_except_the_newest_running_ones_and_the_one_that_readers_use(tmp_path):
    shop = settings(tmp_path, keep_runs=2, keep_publications=1)
    published = run_that(shop, run_archive.SUCCEEDED, publication={"name": "readers", "as_of": None, "marts": {}})
    oldest = run_that(shop, run_archive.FAILED)
    going_on = run_that(shop, run_archive.RUNNING)
    old = run_that(shop, run_archive.SUCCEEDED)
    kept = [run_that(shop, run_archive.SUCCEEDED) for _ in range(2)]
    for age, name in enumerate(["newest", "second", "readers"]):
        publication(shop, name, age)
    publisher.roll_back(shop, "readers")
    wanted = [("run", old), ("run", oldest), ("publication", "second")]
    listed = pruning.prune(shop, dry_run=True)
    assert names(listed) == wanted
    assert all((shop.runs / name).exists() for name in (old, oldest))
    removed = pruning.prune(shop)
    assert removed == listed
    assert all(removal.size > 500 for removal in removed[0])
    assert {record["run_id"] for record in run_archive.read_all(shop.runs)} == {published, going_on, *kept}
    assert old not in (shop.runs / "index.html").read_text("utf-8")
    assert run_archive.latest(shop.runs).name == kept[-1]
    assert publisher.current(shop).run_id == "readers"
    assert names(pruning.prune(shop)) == []


def test_runs_of_another_data_folder_stay(tmp_path):
    """That folder has limits of its own, and its readers may use a publication of an old run."""
    shop = settings(tmp_path, keep_runs=1)
    theirs = [run_that(shop, run_archive.SUCCEEDED, store="another") for _ in range(2)]
    ours = [run_that(shop, run_archive.SUCCEEDED, store=provenance.data_folder(shop)) for _ in range(2)]
    theirs.append(run_that(shop, run_archive.SUCCEEDED, store="another"))
    assert names(pruning.prune(shop)) == [("run", ours[0])]
    assert sorted([*theirs, ours[1]]) == sorted(record["run_id"] for record in run_archive.read_all(shop.runs))


def test_old_leftovers_of_killed_processes_are_removed(tmp_path):
    shop = settings(tmp_path)
    data_folder.claim(shop.data)
    for name in ("published/.making-old", "published/.making-new", "tmp/ingest"):
        (shop.data / name).mkdir(parents=True)
    (shop.data / "tmp" / "spilled.tmp").write_bytes(b"x" * 10)
    for name in ("published/.making-old", "tmp/spilled.tmp"):
        os.utime(shop.data / name, (0, 0))
    assert names(pruning.prune(shop)) == [("leftover", "published/.making-old"), ("leftover", "tmp/spilled.tmp")]
    assert not (shop.data / "published/.making-old").exists()
    assert (shop.data / "published/.making-new").exists()


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def killed_after(monkeypatch):
    """A function that calls `work`, killed after `count` removals, and returns whether it was killed."""

    def do(count: int, work) -> bool:
        done = itertools.count()
        with monkeypatch.context() as patched:
            for removes in (os.unlink, os.rmdir):

                def counted(*arguments, removes=removes, **options):
                    of_the_lock = str(arguments[0]).endswith("writer.json")
                    if not of_the_lock and next(done) == count:
                        raise Killed
                    return removes(*arguments, **options)

                patched.setattr(os, removes.__name__, counted)
            try:
                work()
            except Killed:
                return True
        return False

    return do


def test_a_prune_that_is_killed_at_any_point_leaves_only_complete_runs_and_publications(
    tmp_path, killed_after, monkeypatch
):
    """Every listed publication can be rolled back to, and the next prune removes the rest."""
    monkeypatch.setattr("duckbook.publish.publication.GRACE", pruning.timedelta(0))
    points = 0
    while True:
        shop = settings(tmp_path / str(points), keep_runs=1, keep_publications=1)
        ids = [run_that(shop, run_archive.SUCCEEDED) for _ in range(2)]
        for age, name in enumerate(["newest", "older", "oldest"]):
            publication(shop, name, age)
        publisher.roll_back(shop, "newest")
        was_killed = killed_after(points, lambda shop=shop: pruning.prune(shop))
        for kept in publisher.publications(shop):
            assert (shop.data / "published" / kept.run_id / "dim_dates.parquet").stat().st_size == 1000
            assert publisher.roll_back(shop, kept.run_id).marts == {"dim_dates": 1}
        publisher.roll_back(shop, "newest")
        for record in run_archive.read_all(shop.runs):
            assert (shop.runs / record["run_id"] / "index.html").exists()
        left = {path.name for path in (shop.data / "published").glob("*/")}
        gone = left - {kept.run_id for kept in publisher.publications(shop)}
        for name in gone:
            with pytest.raises(PublishError, match=f"no publication {name}: kept are newest"):
                publisher.roll_back(shop, name)
        for path in (*(shop.data / "published").glob("*/"), *shop.runs.glob("*/")):
            os.utime(path, (0, 0))
        pruning.prune(shop)
        assert {path.name for path in (shop.data / "published").glob("*/")} == {"newest"}
        assert [path.name for path in shop.runs.glob("*/") if not path.is_symlink()] == ids[1:]
        if not was_killed:
            break
        points += 1
    assert points > 6


def test_a_publication_that_readers_have_just_left_stays_for_a_while(tmp_path, monkeypatch):
    shop = settings(tmp_path, keep_publications=1)
    for age, name in enumerate(["newest", "older", "oldest"]):
        publication(shop, name, age)
    publisher.roll_back(shop, "oldest")
    publisher.roll_back(shop, "newest")
    assert names(pruning.prune(shop, dry_run=True)) == [("publication", "older")]
    monkeypatch.setattr("duckbook.publish.publication.GRACE", -pruning.LEFTOVER_AGE)
    assert names(pruning.prune(shop)) == [("publication", "older"), ("publication", "oldest")]


def test_objects_of_the_history_that_no_commit_names_are_removed_and_all_others_stay(
    shop_settings, endpoints, monkeypatch
):
    client, bucket = storage.client(endpoints.s3), shop_settings.s3_historic_bucket
    kept = [commit_log.commit_key(1), "json/orders/date=2026-01-01/orders.ndjson"]
    log = commit_log.read(client, bucket)
    if log.commits:
        kept = kept[1:]
    orphan = batches.file_key("orders", "orders-20260101-99999-abcdef01", "rows")
    for key in (*kept[1:], orphan):
        storage.put_bytes(client, bucket, key, b"some bytes")
    assert ("leftover", orphan) not in names(pruning.prune(shop_settings, dry_run=True)), "it may be in use"
    monkeypatch.setattr(pruning, "LEFTOVER_AGE", pruning.timedelta(seconds=-60))
    assert ("leftover", orphan) in names(pruning.prune(shop_settings))
    left = {found.key for found in storage.list_objects(client, bucket)}
    assert orphan not in left
    assert left >= {*kept[1:], *(key for batch in log.batches for key in batch.files.values())}


def test_files_from_before_duckbook_stay(tmp_path):
    shop = settings(tmp_path)
    theirs = ["tmp/old notes.txt", "published/mine/figures.csv", "docs/thesis.md", "warehouse.duckdb.mine"]
    for name in theirs:
        path = shop.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("five years")
        os.utime(path, (0, 0))
    publication(shop, "ours", 0)
    assert names(pruning.prune(shop)) == []
    remaining_copies.discard_warehouse(shop)
    remaining_copies.check_warehouse(shop)
    (shop.data / "models").mkdir()
    process = duckbook(shop, "clean", "--yes")
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "Files that are not duckbook's remain: docs, published, tmp" in out
    assert [(shop.data / name).read_text() for name in theirs] == ["five years"] * len(theirs)
    assert not (shop.data / "models").exists()


def test_a_warehouse_of_somebody_elses_is_not_deleted(tmp_path):
    shop = settings(tmp_path)
    shop.data.mkdir()
    shop.warehouse_path.write_bytes(b"mine")
    data_folder.claim(shop.data)
    with pytest.raises(WarehouseError, match="was there before duckbook"):
        remaining_copies.check_warehouse(shop)


def test_only_data_folders_are_cleaned_including_those_of_an_earlier_version(tmp_path):
    shop = settings(tmp_path)
    (shop.data / "servers").mkdir(parents=True)
    (shop.data / "servers" / "config").write_text("mine")
    process = duckbook(shop, "clean", "--yes")
    _, err = process.communicate()
    assert process.returncode == 1
    assert "is not a data folder of duckbook" in err
    assert (shop.data / "servers" / "config").read_text() == "mine"
    (shop.data / "ingest.lock").touch()
    process = duckbook(shop, "clean", "--yes")
    process.communicate()
    assert process.returncode == 0
    assert not shop.data.exists()


def test_foreign_objects_in_the_history_are_not_leftovers(shop_settings, endpoints, monkeypatch):
    client, bucket = storage.client(endpoints.s3), shop_settings.s3_historic_bucket
    theirs = ["history/thesis.parquet", "history/orders/batch=mine/rows.parquet", "history/_log/notes.txt"]
    for key in theirs:
        storage.put_bytes(client, bucket, key, b"five years")
    monkeypatch.setattr(pruning, "LEFTOVER_AGE", pruning.timedelta(seconds=-60))
    assert not set(theirs) & {name for _, name in names(pruning.prune(shop_settings))}
    assert all(storage.get_bytes(client, bucket, key) for key in theirs)
    for key in theirs:
        storage.delete(client, bucket, key)


def test_nothing_is_removed_during_a_run(tmp_path):
    shop = settings(tmp_path, keep_runs=1)
    first = run_that(shop, run_archive.SUCCEEDED)
    run_that(shop, run_archive.SUCCEEDED)
    with one_writer(shop, "a run of the chain"), pytest.raises(ChainError, match="is at work on the data folder"):
        pruning.prune(shop)
    assert (shop.runs / first).exists()


def test_the_command_prints_what_it_removed_and_freed(tmp_path):
    shop = settings(tmp_path)
    first = run_that(shop, run_archive.SUCCEEDED)
    run_that(shop, run_archive.SUCCEEDED)
    out, err = duckbook(shop, "prune", "--dry-run", DUCKBOOK_KEEP_RUNS="1").communicate(timeout=60)
    assert first in out, err
    assert "Would remove 1 run, 0 publications, 0 leftovers: 0.0 MB." in out
    out, err = duckbook(shop, "prune", DUCKBOOK_KEEP_RUNS="1").communicate(timeout=60)
    assert "Removed 1 run, 0 publications, 0 leftovers: 0.0 MB freed." in out, err
    assert not (shop.runs / first).exists()


def test_pruning_does_not_start_servers(tmp_path):
    shop = settings(tmp_path)
    shop.data.mkdir()
    assert pruning.prune(shop)[1].startswith("The history was not searched for leftovers")
    assert {row["state"] for row in servers.status(shop)} == {"stopped"}
