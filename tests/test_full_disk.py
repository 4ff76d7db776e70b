"""A disk that is full: refused at once where it is small, and told in a sentence where it fills up on the way."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chains import Memory, write_chain
from duckbook import preflight, runs
from duckbook.errors import SettingError
from duckbook.request import Request
from duckbook.runner import run
from duckbook.runs import Run
from duckbook.settings import Settings

WRITE_DOWN = "import os, sys; open(sys.argv[1], 'a').write(os.environ['DUCKBOOK_RUN_SENTENCE'] + chr(10))"


@pytest.fixture
def small_disk(tmp_path) -> Path:
    """A folder on a file system of 30 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may make a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, free: int) -> None:
    """Leave so many bytes of room."""
    block = 4096
    with (folder / "filler").open("wb") as file:
        file.write(b"x" * max(os.statvfs(folder).f_bavail * block - free, 0))


def test_a_disk_without_room_is_refused_before_anything_is_written(small_disk, tmp_path):
    fill(small_disk, 5 * 2**20)
    for setting, chosen in (("DATA", {"runs": tmp_path}), ("RUNS", {"data": tmp_path})):
        settings = Settings(**{setting.lower(): small_disk / "new"}, **chosen, _env_file=None)
        with pytest.raises(SettingError, match=rf"DUCKBOOK_{setting}=.* lies on a disk with [45] MB of room"):
            preflight.check(settings)
    assert not (small_disk / "new").exists()


@pytest.mark.parametrize("room", [0, 5_000, 100_000, 300_000, 700_000])
def test_an_archive_that_fills_up_tells_the_truth_and_calls_for_help(small_disk, tmp_path, monkeypatch, room):
    """The disk is filled when the first step begins: run.json is whole and says failed, and the command was called."""
    written = tmp_path / "told"
    command = f'{sys.executable} -c "{WRITE_DOWN}" {written}'
    settings = Settings(data=tmp_path / "data", runs=small_disk / "runs", on_failure=command, _env_file=None)

    class Filling(Memory):
        def step_started(self, step) -> None:
            super().step_started(step)
            fill(small_disk, room)

    chain = write_chain(tmp_path / "nb", "fails", "never=succeeds")
    record = run(settings, Request(generate=False), Filling(), chain)
    on_disk = json.loads((record.folder / "run.json").read_text("utf-8"))
    assert on_disk["status"] == "failed"
    assert not (record.folder / ".room").exists()
    assert f"Run {record.folder.name} of the store" in written.read_text()
    for notebook in record.folder.glob("*.ipynb"):
        json.loads(notebook.read_text("utf-8"))
    assert runs.read(record.folder)["status"] == "failed"


def test_the_room_that_is_kept_is_used_once(tmp_path, monkeypatch):
    """A write that fails for want of room succeeds when the room that was kept is given free."""
    record = Run.begin(tmp_path, target="duckdb", as_of=None, parameters={}, steps=[], git={}, versions={})
    real = runs.write_private

    def full(path: Path, content) -> None:
        if (record.folder / ".room").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, content)

    monkeypatch.setattr(runs, "write_private", full)
    record.record["error"] = "no room"
    record.save()
    assert json.loads((record.folder / "run.json").read_text())["error"] == "no room"
