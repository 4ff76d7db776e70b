"""Back up and restore a shop: its history in S3, and the manifest of its generated landing zone.

Raw and every mart are rebuilt from the history, and a generated landing zone from its seed, so nothing else is needed.
A backup is a folder that holds each object under its key. The next backup into it copies new objects and removes those
that the history no longer names, such as those of an erased person. ``backup.json`` identifies the history and its last
commit. It is written last, so a backup that is killed leaves the previous one valid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from duckbook.backends import manifest, storage
from duckbook.errors import BackupError, IngestError
from duckbook.files import checksum, read_json, write_private
from duckbook.generate import landing
from duckbook.ingest import commit_log, sources, transaction
from duckbook.ingest.batches import FILE_KEY, History
from duckbook.settings import Endpoints, Settings

STATE_FILE = "backup.json"

RESTORE_MARKER = "restoring.json"
"""File in the data folder that names the backup while a restore is under way."""

FORMAT = 1

TRANSFERS = 8

PARTIAL_SUFFIX = ".part"
"""Suffix of files that are still being copied."""


@dataclass(frozen=True)
class Backup:
    """A backup: its last commit, and how many objects were copied, kept and dropped.

    `foreign` are the paths below its ``history/`` that no backup wrote. They are left alone.
    """

    folder: Path
    commit: int
    as_of: str
    copied: int
    kept: int
    dropped: int
    size: int
    foreign: tuple[str, ...] = ()


def back_up(settings: Settings, endpoints: Endpoints, folder: Path) -> Backup:
    """Copy the history and the manifest into a folder; later backups copy only new objects.

    Raises
    ------
    BackupError
        There is no history, the folder holds other files or the backup of another history, or an object differs from
        its checksum. The previous backup stays valid.
    ServerError
        The object storage does not answer. The previous backup stays valid.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    folder = folder.expanduser().resolve()
    # The lock keeps ingests and erasures away between reading the log and the files that it names.
    with transaction.exclusive(settings, client, "a backup"):
        chronicle = commit_log.read(client, bucket)
        if not chronicle.commits:
            raise BackupError(
                "There is no history yet: run notebooks/pipeline/03_ingest.ipynb first, or `make pipeline`."
            )
        _claim(folder, chronicle)
        sums = _file_sums(chronicle) | _commit_sums(chronicle)
        missing = [key for key, digest in sums.items() if not _is_intact(folder / key, digest)]
        _transfer(missing, lambda key: _fetch(client, bucket, key, folder / key, sums[key]))
        landed = storage.get_bytes(client, bucket, manifest.KEY)
    size = sum((folder / key).stat().st_size for key in sums)
    number, as_of = chronicle.commits[-1].number, str(chronicle.as_of)
    _write_state(folder, chronicle, landed)
    _read(folder)
    dropped, foreign = _drop(folder, set(sums))
    return Backup(folder, number, as_of, len(missing), len(sums) - len(missing), dropped, size, foreign)


def _claim(folder: Path, chronicle: History) -> None:
    """Check that a folder is empty or holds an earlier backup of this history; mark an empty one."""
    if (folder / STATE_FILE).is_file():
        state = _read_state(folder)
        earlier = chronicle.commits[: state["commit"]]
        if len(earlier) < state["commit"] or History(earlier).digest != state["digest"]:
            raise BackupError(
                f"{folder} holds the backup of another history, as of {state['as_of']}: name another folder. "
                "Nothing was changed."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} holds files that are not a backup: name an empty or a new folder.")
    else:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_state(folder, History(), None)


def _write_state(folder: Path, chronicle: History, landed: bytes | None) -> None:
    number = chronicle.commits[-1].number if chronicle.commits else 0
    state = {"format": FORMAT, "commit": number, "digest": chronicle.digest, "as_of": str(chronicle.as_of)}
    state |= {"landing": landed and landed.decode()}
    write_private(folder / STATE_FILE, json.dumps(state | {"sha256": _state_sum(state)}, indent=1))


def _state_sum(state: dict) -> str:
    return sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def check(settings: Settings, folder: Path) -> None:
    """Check, before any server is started, that a folder holds a backup and the data folder is empty.

    Raises
    ------
    BackupError
        The folder holds no complete backup, or the data folder is not empty.
    """
    chronicle, _ = _read(folder.expanduser().resolve())
    existing = [path for path in (settings.warehouse_path, settings.data / "published") if path.exists()]
    if existing and not _is_under_way(settings, chronicle):
        raise BackupError(f"{settings.data} is in use ({existing[0].name} exists): {ELSEWHERE}")


ELSEWHERE = "restore into an empty data folder (DATA=folder). Nothing was changed."


def _is_under_way(settings: Settings, chronicle: History) -> bool:
    """Whether a restore of this backup was begun in the data folder and not finished, so that it may go on."""
    return read_json(settings.data / RESTORE_MARKER).get("digest") == chronicle.digest


def finish_restore(settings: Settings) -> None:
    """Mark the restore as complete: raw and the marts have been rebuilt."""
    (settings.data / RESTORE_MARKER).unlink(missing_ok=True)


def restore(settings: Settings, endpoints: Endpoints, folder: Path) -> Backup:
    """Copy a backup into an empty shop, and land its data again if the shop was generated.

    The caller then loads raw, builds, and calls `finish_restore`, as `duckbook restore` does.

    Raises
    ------
    BackupError
        The backup is not complete, or the shop is not empty. Nothing was changed.
    ServerError
        The object storage does not answer. The restore can be run again.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    folder = folder.expanduser().resolve()
    chronicle, landed = _read(folder)
    sums, commits = _file_sums(chronicle), _commit_sums(chronicle)
    broken = next((key for key in sums if not _is_intact(folder / key, sums[key])), None)
    if broken:
        raise BackupError(f"{folder / broken} is missing or was changed, so the backup is incomplete: use another one.")
    with transaction.exclusive(settings, client, "a restore") as lease:
        _check_empty(settings, endpoints, client, chronicle, landed)
        write_private(settings.data / RESTORE_MARKER, json.dumps({"digest": chronicle.digest}))
        _transfer(sums, lambda key: storage.upload(client, folder / key, bucket, key))
        # Commits go last and in order, so that a killed restore leaves a valid, shorter history.
        lease.renew()
        for key in commits:
            storage.put_bytes(client, bucket, key, (folder / key).read_bytes())
    if landed:
        _land_again(settings, endpoints, landed.encode())
    size = sum((folder / key).stat().st_size for key in (*sums, *commits))
    return Backup(folder, chronicle.commits[-1].number, str(chronicle.as_of), len(sums) + len(commits), 0, 0, size)


def _check_empty(settings: Settings, endpoints: Endpoints, client, chronicle: History, landed: str | None) -> None:
    """Check that history and landing zone are empty, except for an unfinished restore of this backup."""
    bucket, existing = settings.s3_historic_bucket, commit_log.read(client, settings.s3_historic_bucket).commits
    under_way = _is_under_way(settings, chronicle)
    if existing and not (under_way and existing == chronicle.commits[: len(existing)]):
        raise BackupError(f"s3://{bucket} holds a history already, of {len(existing)} commits: {ELSEWHERE}")
    if landed and not under_way:
        found = sources.discover(settings, endpoints, client).sources
        if found or manifest.read(settings, endpoints):
            example = found[0].name if found else f"s3://{bucket}/{manifest.KEY}"
            raise BackupError(f"The landing zone holds data already, such as {example}: {ELSEWHERE}")


def _land_again(settings: Settings, endpoints: Endpoints, landed: bytes) -> None:
    """Land a generated shop again, byte for byte: its history and the newest of its latest days."""
    before = manifest.parse(landed, manifest.KEY)
    manifest.write(settings, endpoints, replace(before, history=None, latest={}))
    values = {name: getattr(before, name) for name in ("customers", "seed", "dirt", "first_as_of", "planted")}
    if not before.complete:
        return
    landing.land_history(settings, endpoints, **values)
    if before.last_as_of:
        earlier = {day: landed_day for day, landed_day in before.latest.items() if day != str(before.last_as_of)}
        manifest.write(settings, endpoints, replace(before, latest=earlier))
        landing.land_latest(settings, endpoints, before.last_as_of)


def _read_state(folder: Path) -> dict:
    """Read a backup's state file and check its format and checksum."""
    if not folder.is_dir():
        raise BackupError(f"There is no folder {folder}: name the one into which `make backup` wrote.")
    try:
        state = json.loads((folder / STATE_FILE).read_text("utf-8"))
        known = state["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{folder} holds no complete backup ({error}): make one with `make backup`.") from None
    if not known:
        raise BackupError(f"Another version of duckbook made the backup in {folder}: use that version to restore it.")
    # Earlier versions wrote no checksum.
    if state.pop("sha256", None) not in (None, _state_sum(state)):
        raise BackupError(f"{folder / STATE_FILE} was changed, so the backup is incomplete: use another one.")
    return state


def _read(folder: Path) -> tuple[History, str | None]:
    """Read the commits of a backup, and the text of its landing zone's manifest."""
    state = _read_state(folder)
    if not state["commit"]:
        raise BackupError(f"{folder} holds a backup that was begun and never finished: make it again.")
    try:
        paths = [folder / commit_log.commit_key(number) for number in range(1, state["commit"] + 1)]
        chronicle = commit_log.parse({str(path): path.read_bytes() for path in paths})
    except OSError as error:
        raise BackupError(f"{folder} holds no complete backup ({error}): make one with `make backup`.") from None
    except IngestError as error:
        raise BackupError(f"The commit log in {folder} is damaged: use another backup. {error}") from None
    if chronicle.digest != state["digest"]:
        raise BackupError(f"The commit log in {folder} is not the one that was backed up: use another backup.")
    return chronicle, state["landing"]


def _commit_sums(chronicle: History) -> dict[str, str]:
    """Key of each commit's object → its SHA-256."""
    return {
        commit_log.commit_key(commit.number): sha256(commit.text.encode()).hexdigest() for commit in chronicle.commits
    }


def _file_sums(chronicle: History) -> dict[str, str | None]:
    """Key of each file that the history names → its SHA-256; None if an earlier version wrote the commit."""
    return {key: batch.sha256.get(role) for batch in chronicle.batches for role, key in batch.files.items()}


def _is_intact(path: Path, digest: str | None) -> bool:
    """Whether a file exists and has this SHA-256, if one is known."""
    return path.is_file() and (digest is None or checksum(path) == digest)


def _fetch(client, bucket: str, key: str, path: Path, digest: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
    storage.download(client, bucket, key, part)
    if not _is_intact(part, digest):
        part.unlink()
        raise BackupError(f"s3://{bucket}/{key} differs from its commit: restore that object before a backup.")
    part.replace(path)


def _drop(folder: Path, named: set[str]) -> tuple[int, tuple[str, ...]]:
    """Remove backup files that the history no longer names; return their number and the foreign files."""
    paths = (path for path in (folder / "history").rglob("*") if path.is_symlink() or not path.is_dir())
    existing = {path.relative_to(folder).as_posix(): path for path in paths}
    unnamed = sorted(existing.keys() - named)
    dropped = [key for key in unnamed if _is_backup_file(key)]
    for key in dropped:
        existing[key].unlink()
    return len(dropped), tuple(key for key in unnamed if key not in dropped)


def _is_backup_file(key: str) -> bool:
    """Whether a backup could have written a file of this name."""
    parent, _, name = key.rpartition("/")
    if name.startswith(".") and name.endswith(PARTIAL_SUFFIX):
        key = f"{parent}/{name[1 : -len(PARTIAL_SUFFIX)]}"
    return bool(FILE_KEY.fullmatch(key) or commit_log.KEY.fullmatch(key))


def _transfer(keys: Iterable[str], function: Callable[[str], object]) -> None:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(function, keys))
