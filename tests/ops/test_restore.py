"""A backup is restored into an empty data folder only, and a failing command leaves no server behind."""

from __future__ import annotations

import subprocess
import sys

import pytest
from chains import duckbook
from duckbook.backends import manifest, server_state, servers, storage
from duckbook.cli import commands
from duckbook.errors import BackupError, IngestError
from duckbook.ingest import raw
from duckbook.ops import backup
from duckbook.settings import Settings
from landing_zone import AS_OF, Shop, lines, order


@pytest.fixture(scope="module")
def kept(tmp_path_factory, endpoints):
    """Return a shop with a history of two commits, and the folder of its backup."""
    shop = Shop(tmp_path_factory.mktemp("backed up"), endpoints, "backedup")
    shop.clear()
    for day in ("2026-05-31", "2026-06-30"):
        shop.land(f"orders/date={day}/o.ndjson", lines(order(f"o-{day}")))
        shop.ingest()
    folder = tmp_path_factory.mktemp("backups") / "kept"
    assert backup.back_up(shop.settings, endpoints, folder).commit == 2
    return shop, folder


@pytest.fixture
def empty(endpoints, tmp_path) -> Shop:
    shop = Shop(tmp_path / "restored", endpoints, "restored")
    shop.clear()
    return shop


def restore(shop: Shop, folder) -> None:
    """Restore as the command does, up to raw."""
    backup.check(shop.settings, folder)
    assert backup.restore(shop.settings, shop.endpoints, folder).as_of == str(AS_OF)
    raw.rebuild(shop.settings, shop.endpoints)
    backup.finish_restore(shop.settings)


def test_a_data_folder_in_use_is_left_as_it_is(kept, empty):
    shop, folder = kept
    before = shop.dump()
    with pytest.raises(BackupError, match=r"is in use \(warehouse.duckdb exists\): restore into an empty"):
        restore(shop, folder)
    assert shop.dump() == before
    # Its history alone is enough to refuse.
    shop.lose_warehouse()
    with pytest.raises(BackupError, match="holds a history already, of 2 commits: restore into an empty data folder"):
        restore(shop, folder)
    raw.load(shop.settings, shop.endpoints)
    restore(empty, folder)
    assert empty.dump() == before
    with pytest.raises(BackupError, match="is in use"):
        restore(empty, folder)


@pytest.mark.parametrize("killed_in", ["upload", "put_bytes", "rebuild"])
def test_a_killed_restore_goes_on_when_it_is_run_again(kept, empty, monkeypatch, killed_in):
    shop, folder = kept
    with monkeypatch.context() as patched:
        calls, module = [], raw if killed_in == "rebuild" else storage
        original = getattr(module, killed_in)

        def killed(*arguments, **options):
            calls.append(original(*arguments, **options))
            raise KeyboardInterrupt

        patched.setattr(module, killed_in, killed)
        with pytest.raises(KeyboardInterrupt):
            restore(empty, folder)
    assert calls
    restore(empty, folder)
    assert empty.dump() == shop.dump()
    assert not (empty.settings.data / backup.RESTORE_MARKER).exists()


def test_a_backup_is_not_landed_over_existing_data(kept, empty, monkeypatch):
    """The shop in the backup was generated and would be landed again."""
    _, folder = kept
    chosen = manifest.choose(empty.settings, empty.endpoints)
    manifest.write(empty.settings, empty.endpoints, manifest.Manifest(**chosen))
    landed = storage.get_bytes(empty.client, empty.settings.s3_historic_bucket, manifest.KEY).decode()
    monkeypatch.setattr(backup, "_read", lambda path, read=backup._read: (read(path)[0], landed))
    with pytest.raises(BackupError, match="The landing zone holds data already, such as"):
        restore(empty, folder)
    assert empty.history_keys() == []
    storage.delete(empty.client, empty.settings.s3_historic_bucket, manifest.KEY)


def test_a_missing_folder_is_an_error_and_no_server_is_started(tmp_path):
    shop = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    process = duckbook(shop, "restore", str(tmp_path / "nowhere"))
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (
        1,
        f"There is no folder {tmp_path}/nowhere: name the one into which `make backup` wrote.\n",
    )
    assert not shop.data.exists()


def test_a_backup_drops_only_files_that_it_could_have_written(kept, tmp_path):
    shop, _ = kept
    folder = tmp_path / "kept"
    backup.back_up(shop.settings, shop.endpoints, folder)
    batch = "history/orders/batch=orders-20260630-00001-1a2b3c4d"
    ours = (f"{batch}/0123abcd/rows.parquet", f"{batch}/0123abcd/.rows.parquet.part", f"{batch}/unreadable.parquet")
    theirs = ("history/notes.txt", "history/orders/batch=mine/rows.parquet", f"{batch}/rows.csv", "history/.x.part")
    for key in (*ours, *theirs):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_text("x")
    (folder / "history" / "elsewhere").symlink_to(tmp_path)
    made = backup.back_up(shop.settings, shop.endpoints, folder)
    assert (made.copied, made.dropped) == (0, len(ours))
    assert made.foreign == tuple(sorted((*theirs, "history/elsewhere")))
    assert all((folder / key).is_file() for key in theirs)


def test_raw_is_not_rebuilt_from_a_missing_history(kept, empty):
    empty.land("orders/date=2026-06-30/o.ndjson", lines(order("o-1")))
    empty.ingest()
    before = empty.dump()
    storage.delete_prefix(empty.client, empty.settings.s3_historic_bucket, "history/")
    with pytest.raises(IngestError, match="There is no history in s3://restored-past to rebuild raw from"):
        raw.rebuild(empty.settings, empty.endpoints)
    assert empty.dump() == before


def test_a_failing_command_stops_the_servers_that_it_started(tmp_path):
    shop = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    with pytest.raises(BackupError), server_state.on_error(shop):
        backup.back_up(shop, servers.up(shop), tmp_path / "kept")
    assert {row["state"] for row in servers.status(shop)} == {"stopped"}
    try:
        servers.up(shop)
        with pytest.raises(BackupError), server_state.on_error(shop):
            backup.back_up(shop, servers.up(shop), tmp_path / "kept")
        assert {row["state"] for row in servers.status(shop)} == {"running"}
    finally:
        servers.down(shop)


FAILS = """
import sys
from pathlib import Path
from duckbook.backends import server_state, servers
from duckbook.settings import Settings
settings = Settings(data=Path(sys.argv[1]), _env_file=None)
with server_state.on_error(settings):
    servers.up(settings)
    print("started", flush=True)
    sys.exit(sys.stdin.readline())
"""

BECOMES_ANOTHER_PROGRAM = """
import os, sys
from pathlib import Path
from duckbook.backends import servers
from duckbook.settings import Settings
servers.up(Settings(data=Path(sys.argv[1]), _env_file=None))
print("uses them", flush=True)
os.execvp("sleep", ["sleep", "600"])
"""


@pytest.fixture
def begin(tmp_path):
    """Return a function that starts a script on one data folder, and waits until it uses the servers."""
    begun = []

    def begin(script: str) -> subprocess.Popen:
        command = [sys.executable, "-c", script, str(tmp_path / "data")]
        begun.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert begun[-1].stdout.readline()
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()
    servers.down(Settings(data=tmp_path / "data", _env_file=None))


def test_a_failing_command_leaves_the_servers_to_those_who_use_them(begin, tmp_path):
    store = Settings(data=tmp_path / "data", _env_file=None)

    def state_after_failure(command: subprocess.Popen) -> set[str]:
        command.communicate("It failed.\n", timeout=60)
        return {row["state"] for row in servers.status(store)}

    # A reader that is another program by now, as `make lab` is JupyterLab.
    failing, reader = begin(FAILS), begin(BECOMES_ANOTHER_PROGRAM)
    assert state_after_failure(failing) == {"running"}
    assert "Stopped: postgres, s3." in duckbook(store, "down").communicate(timeout=60)[0]
    failing = begin(FAILS)
    reader.kill()
    reader.wait()
    assert state_after_failure(failing) == {"stopped"}
    # Programs that use what `make env` prints are not known.
    failing = begin(FAILS)
    assert "PGPASSWORD" in duckbook(store, "env").communicate(timeout=60)[0]
    assert state_after_failure(failing) == {"running"}


def test_every_command_that_may_start_servers_stops_them_on_failure():
    """A run leaves them up for a resume; the other commands start none, or only that."""
    others = {"run", "latest", "resume", "down", "status", "list", "show", "compare", "report", "clean"}
    others |= {"outputs", "stale"}
    wrapped = {name for name, command in commands.cli.commands.items() if hasattr(command.callback, "__wrapped__")}
    assert wrapped == set(commands.cli.commands) - others
