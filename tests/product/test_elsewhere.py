"""A shop on another machine: its place, its shell, its clock, its language and its owner change no value."""

from __future__ import annotations

import os
import shutil

import pytest
from chains import ELSEWHERE, ODD, begin, duckbook
from duckbook.backends import servers, storage, warehouse
from duckbook.publish import publisher
from duckbook.runs import run_archive
from duckbook.runs.run_archive import Run
from duckbook.settings import Settings


def marts(shop: Settings) -> dict[str, tuple]:
    """Rows and a sum over all values of each mart, whatever the order of the rows."""
    with publisher.published(shop) as reader:
        query = "select count(*), sum(hash(mart)::hugeint) from ecom_marts.{} as mart"
        return {m: reader.connection.execute(query.format(m)).fetchone() for m in sorted(reader.publication.marts)}


@pytest.fixture(scope="module")
def here(start_shop, soak) -> dict[str, tuple]:
    """The marts of a shop where nothing is out of the ordinary."""
    if not soak:
        pytest.skip("some minutes of work, and the run of test_lake.py is in such a place too: make soak")
    shop = start_shop("here", customers=200)
    begin(shop)
    publisher.publish(shop, "here")
    return marts(shop)


@pytest.mark.parametrize("what", [*ELSEWHERE, "everything"])
def test_a_shop_elsewhere_has_the_same_marts(here, what, tmp_path, request):
    given = {name: value for values in ELSEWHERE.values() for name, value in values.items()}
    folder = tmp_path / (ODD if what == "everything" else "plain")
    shop = Settings(data=folder / "data", runs=folder / "runs", customers=200, _env_file=None)
    request.addfinalizer(lambda: servers.down(shop))
    chosen = given if what == "everything" else ELSEWHERE[what]
    said, wrong = duckbook(shop, "run", "--customers", "200", "--until", "publish", **chosen).communicate(timeout=600)
    assert run_archive.read(run_archive.latest(shop.runs))["status"] == "succeeded", said + wrong
    assert marts(shop) == here


def test_a_shop_that_was_moved_while_it_stood_still_goes_on(here, tmp_path, request):
    shop = Settings(data=tmp_path / "before", runs=tmp_path / "runs", customers=200, _env_file=None)
    begin(shop)
    servers.down(shop)
    moved = shop.model_copy(update={"data": tmp_path / ODD / "after"})
    moved.data.parent.mkdir()
    shutil.move(shop.data, moved.data)
    request.addfinalizer(lambda: servers.down(moved))
    said, wrong = duckbook(moved, "run", "--from", "ingest", "--until", "publish").communicate(timeout=600)
    assert run_archive.read(run_archive.latest(moved.runs))["status"] == "succeeded", said + wrong
    assert marts(moved) == here


def test_whatever_the_clock_of_the_machine_duckdb_works_in_utc(tmp_path, monkeypatch):
    """Its cursors too, on which `%sql` runs."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    shop = Settings(data=tmp_path, _env_file=None)
    for connection in (warehouse.engine(shop), warehouse.open_warehouse(shop)):
        zones = "select current_setting('TimeZone')"
        assert [c.execute(zones).fetchone() for c in (connection, connection.cursor())] == [("UTC",)] * 2
        connection.close()


def test_the_embedded_object_storage_reads_nothing_of_aws_that_the_shell_names(endpoints, shop_settings, monkeypatch):
    for name, value in ELSEWHERE["AWS"].items():
        monkeypatch.setenv(name, value)
    storage._session.cache_clear()
    try:
        assert storage.list_objects(storage.client(endpoints.s3), shop_settings.s3_latest_bucket) is not None
    finally:
        storage._session.cache_clear()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root leaves files that nobody else reads")
def test_a_run_that_root_left_in_the_archive_is_passed_over(tmp_path):
    folder = tmp_path / "runs"
    root_s = Run.begin(folder, target="duckdb", as_of=None, parameters={}, steps=[])
    for path in (folder, *folder.parents):
        if path.stat().st_uid == 0 and path.is_relative_to(tmp_path.parents[2]):
            path.chmod(0o777 if path == folder else path.stat().st_mode | 0o011)
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
    else:
        wrong = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            assert run_archive.latest(folder) is None
            assert run_archive.read_all(folder) == []
            assert run_archive.interrupt_killed(folder) == []
            mine = Run.begin(folder, target="duckdb", as_of=None, parameters={}, steps=[])
            assert run_archive.latest(folder) == mine.folder.resolve()
            wrong = 0
        finally:
            os._exit(wrong)
    assert root_s.folder.exists()
