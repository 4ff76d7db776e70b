"""A disk that is full: refused at once where it is small, and told in a sentence where it fills up on the way."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from chains import Memory, write_chain
from duckbook.backends import disk_space, preflight, servers
from duckbook.errors import DuckbookError, SettingError, reason
from duckbook.ingest import history, raw
from duckbook.ops import backup, person_erasure, remaining_copies
from duckbook.publish import publisher
from duckbook.runs import chain, run_archive
from duckbook.runs.request import Request
from duckbook.runs.run_archive import Run
from duckbook.runs.runner import resume, run
from duckbook.settings import Settings
from landing_zone import AS_OF, Shop, lines, order

WRITE_DOWN = "import os, sys; open(sys.argv[1], 'a').write(os.environ['DUCKBOOK_RUN_SENTENCE'] + chr(10))"


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own in a folder."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"]
    if subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode:
        pytest.skip("only root may make a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A folder on a file system of 30 MB."""
    with mounted(tmp_path / "small", 30) as folder:
        yield folder


def fill(folder: Path, free: int) -> None:
    """Leave so many bytes of room."""
    block = 4096
    with (folder / "filler").open("wb") as file:
        file.write(b"x" * max(os.statvfs(folder).f_bavail * block - free, 0))


def test_a_disk_without_room_is_refused_before_anything_is_written(small_disk, tmp_path):
    fill(small_disk, 5 * 2**20)
    for setting, chosen in (("DATA", {"runs": tmp_path}), ("RUNS", {"data": tmp_path})):
        settings = Settings(**{setting.lower(): small_disk / "new"}, **chosen, _env_file=None)
        with pytest.raises(SettingError, match=rf"DUCKBOOK_{setting}=.* is on a disk with [45] MB free"):
            preflight.check(settings)
    assert not (small_disk / "new").exists()


def shop_of(data: Path, endpoints, name: str = "fulldisk") -> Shop:
    """A shop whose data folder lies where it is said, and whose servers lie elsewhere."""
    shop = Shop(data / "data", endpoints, name)
    shop.clear()
    shop.settings.data.mkdir()
    for day in ("2026-05-31", "2026-06-30"):
        orders = [order(n, f"status of {day}", customer_id=n % 50) for n in range(2_000)]
        shop.land(f"orders/date={day}/o.ndjson", lines(*orders, "{oops"))
        shop.land(f"customers/date={day}/c.ndjson", lines(*({"customer_id": n, "city": day} for n in range(50))))
    return shop


def refused(settings: Settings, disk: Path, do, free: int = 20_000) -> None:
    """See that something says whose disk is full, and goes through when there is room again."""
    fill(disk, free)
    with pytest.raises((DuckbookError, OSError, duckdb.Error)) as caught:
        do()
    said = disk_space.explain(reason(caught.value), settings)
    assert "There is no room left on the disk of" in said, said
    assert str(disk) in said, said
    assert said.endswith(": free some, and go on.")
    (disk / "filler").unlink()
    do()


def test_what_met_a_full_disk_goes_on_when_there_is_room_and_has_lost_nothing(
    small_disk, tmp_path, endpoints, shop_settings
):
    """From the landing zone to raw, a backup, a restore, an erasure: each is refused once, in order."""
    undisturbed = shop_of(tmp_path, endpoints, "roomy")
    undisturbed.ingest()
    shop = shop_of(small_disk, endpoints)
    of_shop = (shop.settings, shop.endpoints)
    refused(shop.settings, small_disk, lambda: history.ingest(*of_shop, AS_OF))
    refused(shop.settings, small_disk, lambda: raw.load(*of_shop))
    shop.check_row_counts()
    dumped = [{table: len(rows) for table, rows in each.dump().items()} for each in (shop, undisturbed)]
    assert dumped[0] == dumped[1]
    kept = small_disk / "kept"
    refused(shop.settings.model_copy(update={"runs": kept}), small_disk, lambda: backup.back_up(*of_shop, kept))
    empty = Shop(small_disk / "again", endpoints, "again")
    empty.clear()
    backup.restore(empty.settings, empty.endpoints, kept)
    refused(empty.settings, small_disk, lambda: raw.load(empty.settings, empty.endpoints), free=0)
    assert {table: len(rows) for table, rows in empty.dump().items()} == dumped[1]
    refused(shop.settings, small_disk, lambda: person_erasure.erase(*of_shop, ["7"]))
    remaining_copies.discard_warehouse(shop.settings)
    raw.load(*of_shop)
    shop.check_row_counts()
    assert "7" not in {row["_key"] for row in shop.raw("customers")}


def test_marts_are_not_published_by_half_on_a_full_disk(built_shop, tmp_path):
    built, _ = built_shop
    with mounted(tmp_path / "small", 120) as disk:
        shutil.copytree(built.data, disk / "data", symlinks=True)
        shop = built.model_copy(update={"data": disk / "data"})
        publisher.publish(shop, "first")
        refused(shop, disk, lambda: publisher.publish(shop, "second"))
        assert [publication.run_id for publication in publisher.publications(shop)] == ["second", "first"]
        with publisher.published(shop, run_id="first") as first, publisher.published(shop) as second:
            counts = [{m: reader.connection.execute(f"select count(*) from ecom_marts.{m}").fetchone() for m in
                       reader.publication.marts} for reader in (first, second)]  # fmt: skip
        assert counts[0] == counts[1]


@pytest.mark.parametrize("disk", ["data", "archive"])
def test_a_chain_that_meets_a_full_disk_in_any_step_is_resumed_and_ends_as_undisturbed(disk, soak, tmp_path):
    """Each step once, each in its own data folder: the alarm is called, the record complete, the marts the same."""
    if not soak:
        pytest.skip("some minutes of work: make soak")
    steps = [step.name for step in chain.select(chain.read_chain(), always=("bi",))]
    expected, written = None, tmp_path / "told"
    for step in [None, *steps]:
        with mounted(tmp_path / "data", 1_500) as data, mounted(tmp_path / "archive", 300) as archive:
            command = f'{sys.executable} -c "{WRITE_DOWN}" {written}'
            folders = {"data": data / "data", "runs": archive / "runs"}
            shop = Settings(**folders, customers=300, bi=True, on_failure=command, _env_file=None)
            full = {"data": data, "archive": archive}[disk]

            class Filling(Memory):
                def step_started(self, begun, step=step, full=full) -> None:
                    super().step_started(begun)
                    if begun.name == step and not (full / "filler").exists():
                        fill(full, 50_000)

            try:
                record = run(shop, Request(values={"customers": 300}), Filling())
                on_disk = json.loads((record.folder / "run.json").read_text("utf-8"))
                if step and on_disk["status"] != "succeeded":
                    assert on_disk["status"] == "failed"
                    assert "There is no room left on the disk of" in on_disk["error"], on_disk["error"]
                    assert str(full) in on_disk["error"]
                    assert f"Run {record.folder.name} of the data folder" in written.read_text()
                    (full / "filler").unlink()
                    assert resume(shop, record.folder.name, Memory()).record["status"] == "succeeded", step
                with publisher.published(shop) as reader:
                    sums = "select sum(revenue), sum(units), count(*) from ecom_marts.fct_order_details"
                    found = reader.connection.execute(sums).fetchone(), reader.publication.marts
                expected = expected or found
                assert found == expected, step
            finally:
                servers.down(shop)


@pytest.mark.parametrize("free", [0, 5_000, 100_000, 300_000, 700_000])
def test_an_archive_that_fills_up_tells_the_truth_and_calls_for_help(small_disk, tmp_path, monkeypatch, free):
    """The disk is filled when the first step begins: run.json is whole and says failed, and the command was called."""
    written = tmp_path / "told"
    command = f'{sys.executable} -c "{WRITE_DOWN}" {written}'
    settings = Settings(data=tmp_path / "data", runs=small_disk / "runs", on_failure=command, _env_file=None)

    class Filling(Memory):
        def step_started(self, step) -> None:
            super().step_started(step)
            fill(small_disk, free)

    written_chain = write_chain(tmp_path / "nb", "fails", "never=succeeds")
    record = run(settings, Request(generate=False), Filling(), written_chain)
    on_disk = json.loads((record.folder / "run.json").read_text("utf-8"))
    assert on_disk["status"] == "failed"
    assert not (record.folder / ".room").exists()
    assert f"Run {record.folder.name} of the data folder" in written.read_text()
    for notebook in record.folder.glob("*.ipynb"):
        json.loads(notebook.read_text("utf-8"))
    assert run_archive.read(record.folder)["status"] == "failed"


def test_where_even_the_room_that_was_kept_is_taken_the_pages_go_before_the_record(tmp_path, monkeypatch):
    """As where another step writes into the room that was freed, which a chain did."""
    record = Run.begin(tmp_path, target="duckdb", as_of=None, parameters={}, steps=[], git={}, versions={})
    page = record.folder / "01_a.html"
    page.write_text("a page")
    real = run_archive.write_private

    def full(path: Path, content) -> None:
        if page.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, content)

    monkeypatch.setattr(run_archive, "write_private", full)
    record.end(run_archive.FAILED, "no room")
    assert json.loads((record.folder / "run.json").read_text())["error"] == "no room"
    assert [path.name for path in record.folder.iterdir()] == ["run.json"]


def test_the_room_that_is_kept_is_used_once(tmp_path, monkeypatch):
    """A write that fails for want of room succeeds when the room that was kept is given free."""
    record = Run.begin(tmp_path, target="duckdb", as_of=None, parameters={}, steps=[], git={}, versions={})
    real = run_archive.write_private

    def full(path: Path, content) -> None:
        if (record.folder / ".room").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, content)

    monkeypatch.setattr(run_archive, "write_private", full)
    record.record["error"] = "no room"
    record.save()
    assert json.loads((record.folder / "run.json").read_text())["error"] == "no room"
