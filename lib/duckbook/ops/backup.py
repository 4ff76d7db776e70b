"""Backup and restore of a store: its history in S3, and the bookkeeping of what was landed.

That is enough: raw and every mart are made of the history alone, and a generated landing zone of its seed. A backup is
a folder that holds each object under its key; made again, it takes what is new, and drops what the history names no
more, such as a person who was forgotten. ``backup.json`` says of which history it is and how far it goes, and is
written again when all is there: a backup that is killed leaves the one before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import file_digest, sha256
from pathlib import Path

from duckbook.backends import manifest, storage
from duckbook.errors import BackupError, IngestError
from duckbook.files import read_json, write_private
from duckbook.generate import landing
from duckbook.ingest import commit_log, sources, transaction
from duckbook.ingest.batches import FILE_KEY, History
from duckbook.settings import Endpoints, Settings

TOLD = "backup.json"

BEGUN = "restoring.json"
"""A file in the data folder that names the backup from which it is being restored."""

FORMAT = 1

AT_ONCE = 8

PART = ".part"
"""How the name of a file ends that is being copied."""


@dataclass(frozen=True)
class Backup:
    """A backup: how far the history in it goes, and what this one copied, found there, and dropped, in objects.

    What lies below its ``history/`` and is of no backup is `left`, by its path in the folder.
    """

    folder: Path
    commit: int
    as_of: str
    copied: int
    kept: int
    dropped: int
    size: int
    left: tuple[str, ...] = ()


def back_up(settings: Settings, endpoints: Endpoints, folder: Path) -> Backup:
    """Copy the history and the bookkeeping into a folder; a second time only what is new.

    Raises
    ------
    BackupError
        There is no history yet, the folder holds something else or a backup of another history, or an object is not
        what its commit says. What was in the folder is as it was.
    ServerError
        The object store does not answer; the backup that was there before is whole.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    folder = folder.expanduser().resolve()
    # No ingest and no erasure meanwhile: the log is read, and then what it names.
    with transaction.exclusive(settings, client, "a backup"):
        chronicle = commit_log.read(client, bucket)
        if not chronicle.commits:
            raise BackupError("There is no history yet: run 03_ingest.ipynb first, or `make pipeline`.")
        _take(folder, chronicle)
        sums = _named(chronicle) | _logged(chronicle)
        wanting = [key for key, digest in sums.items() if not _is_there(folder / key, digest)]
        _each(wanting, lambda key: _fetch(client, bucket, key, folder / key, sums[key]))
        landed = storage.get_bytes(client, bucket, manifest.KEY)
    size = sum((folder / key).stat().st_size for key in sums)
    number, as_of = chronicle.commits[-1].number, str(chronicle.as_of)
    _tell(folder, chronicle, landed)
    _read(folder)
    dropped, left = _drop(folder, set(sums))
    return Backup(folder, number, as_of, len(wanting), len(sums) - len(wanting), dropped, size, left)


def _take(folder: Path, chronicle: History) -> None:
    """Take a folder for the backups of a history: an empty one, or one that holds an earlier backup of it."""
    if (folder / TOLD).is_file():
        told = _told(folder)
        earlier = chronicle.commits[: told["commit"]]
        if len(earlier) < told["commit"] or History(earlier).digest != told["digest"]:
            raise BackupError(
                f"{folder} holds the backup of another history, as of {told['as_of']}: name another folder. "
                "Nothing was changed."
            )
    elif folder.exists() and any(folder.iterdir()):
        raise BackupError(
            f"{folder} holds something else than a backup: name an empty folder, or one that is not there."
        )
    else:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _tell(folder, History(), None)


def _tell(folder: Path, chronicle: History, landed: bytes | None) -> None:
    number = chronicle.commits[-1].number if chronicle.commits else 0
    told = {"format": FORMAT, "commit": number, "digest": chronicle.digest, "as_of": str(chronicle.as_of)}
    told |= {"landing": landed and landed.decode()}
    write_private(folder / TOLD, json.dumps(told | {"sha256": _sum_of(told)}, indent=1))


def _sum_of(told: dict) -> str:
    """The checksum of what a backup says of itself."""
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def check(settings: Settings, folder: Path) -> None:
    """See, before any server is started, that a folder holds a backup, and that the data folder is empty.

    Raises
    ------
    BackupError
        One of them is not so.
    """
    chronicle, _ = _read(folder.expanduser().resolve())
    made = [path for path in (settings.warehouse_path, settings.data / "published") if path.exists()]
    if made and not _is_begun(settings, chronicle):
        raise BackupError(f"{settings.data} holds a store already ({made[0].name}): {ELSEWHERE}")


ELSEWHERE = "restore into an empty data folder (DATA=folder). Nothing was changed."


def _is_begun(settings: Settings, chronicle: History) -> bool:
    """Whether a restore of this backup was begun here and has not ended: it goes on, whatever is there of it."""
    return read_json(settings.data / BEGUN).get("digest") == chronicle.digest


def end(settings: Settings) -> None:
    """Note that all that is made of a restored history is there."""
    (settings.data / BEGUN).unlink(missing_ok=True)


def restore(settings: Settings, endpoints: Endpoints, folder: Path) -> Backup:
    """Put a backup into an empty store; where the store was generated, land its data again.

    What is made of the history is not made here: load raw and build after it, and then `end`, as `duckbook restore`
    does.

    Raises
    ------
    BackupError
        The folder is no whole backup, or the store is not empty; nothing was changed.
    ServerError
        The object store does not answer; the restore can be run again.
    """
    bucket, client = settings.s3_historic_bucket, storage.client(endpoints.s3)
    folder = folder.expanduser().resolve()
    chronicle, landed = _read(folder)
    sums, logged = _named(chronicle), _logged(chronicle)
    broken = next((key for key in sums if not _is_there(folder / key, sums[key])), None)
    if broken:
        raise BackupError(f"{folder / broken} is missing or was changed, so the backup is not whole: take another one.")
    with transaction.exclusive(settings, client, "a restore") as lease:
        _refuse_full(settings, endpoints, client, chronicle, landed)
        write_private(settings.data / BEGUN, json.dumps({"digest": chronicle.digest}))
        _each(sums, lambda key: storage.upload(client, folder / key, bucket, key))
        # The log last, and in order, so that a restore that is killed is a history that ends earlier.
        lease.renew()
        for key in logged:
            storage.put_bytes(client, bucket, key, (folder / key).read_bytes())
    if landed:
        _land_again(settings, endpoints, landed.encode())
    size = sum((folder / key).stat().st_size for key in (*sums, *logged))
    return Backup(folder, chronicle.commits[-1].number, str(chronicle.as_of), len(sums) + len(logged), 0, 0, size)


def _refuse_full(settings: Settings, endpoints: Endpoints, client, chronicle: History, landed: str | None) -> None:
    """See that nothing is there but what an earlier try to restore this backup has left."""
    bucket, there = settings.s3_historic_bucket, commit_log.read(client, settings.s3_historic_bucket).commits
    begun = _is_begun(settings, chronicle)
    if there and not (begun and there == chronicle.commits[: len(there)]):
        raise BackupError(f"s3://{bucket} holds a history already, of {len(there)} commits: {ELSEWHERE}")
    if landed and not begun:
        found = sources.discover(settings, endpoints, client).sources
        if found or manifest.read(settings, endpoints):
            what = found[0].name if found else f"s3://{bucket}/{manifest.KEY}"
            raise BackupError(f"The landing zone holds data already, such as {what}: {ELSEWHERE}")


def _land_again(settings: Settings, endpoints: Endpoints, landed: bytes) -> None:
    """Land a generated store as it was: its history, and the newest of its latest days, with the same bytes."""
    told = manifest.parse(landed, manifest.KEY)
    manifest.write(settings, endpoints, replace(told, history=None, latest={}))
    values = {name: getattr(told, name) for name in ("customers", "seed", "dirt", "first_as_of", "planted")}
    if not told.complete:
        return
    landing.land_history(settings, endpoints, **values)
    if told.latest:
        before = {day: what for day, what in told.latest.items() if day != str(told.last_as_of)}
        manifest.write(settings, endpoints, replace(told, latest=before))
        landing.land_latest(settings, endpoints, told.last_as_of)


def _told(folder: Path) -> dict:
    """What a folder says of the backup in it."""
    if not folder.is_dir():
        raise BackupError(f"There is no folder {folder}: name the one into which `make backup` wrote.")
    try:
        told = json.loads((folder / TOLD).read_text("utf-8"))
        known = told["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{folder} holds no whole backup ({error}): make one with `make backup`.") from None
    if not known:
        raise BackupError(
            f"The backup in {folder} is of another version of duckbook: take it, or restore it, with that."
        )
    # An earlier version wrote none.
    if told.pop("sha256", None) not in (None, _sum_of(told)):
        raise BackupError(f"{folder / TOLD} was changed, so the backup is not whole: take another one.")
    return told


def _read(folder: Path) -> tuple[History, str | None]:
    """The chronicle of a backup, and the text of its manifest of the landing zone."""
    told = _told(folder)
    if not told["commit"]:
        raise BackupError(f"{folder} holds a backup that was begun and never finished: make it again.")
    try:
        paths = [folder / commit_log.commit_key(number) for number in range(1, told["commit"] + 1)]
        chronicle = commit_log.parse({str(path): path.read_bytes() for path in paths})
    except OSError as error:
        raise BackupError(f"{folder} holds no whole backup ({error}): make one with `make backup`.") from None
    except IngestError as error:
        raise BackupError(f"The log of commits in {folder} is damaged: take another backup. {error}") from None
    if chronicle.digest != told["digest"]:
        raise BackupError(f"The log of commits in {folder} is not the one that was backed up: take another backup.")
    return chronicle, told["landing"]


def _logged(chronicle: History) -> dict[str, str]:
    """Key of each commit's object → its SHA-256."""
    return {
        commit_log.commit_key(commit.number): sha256(commit.text.encode()).hexdigest() for commit in chronicle.commits
    }


def _named(chronicle: History) -> dict[str, str | None]:
    """Key of each file that the history names → its SHA-256, None in a history that an earlier version wrote."""
    return {key: batch.sha256.get(role) for batch in chronicle.batches for role, key in batch.files.items()}


def _is_there(path: Path, digest: str | None) -> bool:
    """Whether a file is there and is what it should be."""
    if not path.is_file() or digest is None:
        return path.is_file()
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest() == digest


def _fetch(client, bucket: str, key: str, path: Path, digest: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}{PART}")
    storage.download(client, bucket, key, part)
    if not _is_there(part, digest):
        part.unlink()
        raise BackupError(f"s3://{bucket}/{key} is not what its commit says: restore that object before a backup.")
    part.replace(path)


def _drop(folder: Path, named: set[str]) -> tuple[int, tuple[str, ...]]:
    """Remove files of a backup that the history names no more; how many, and what of somebody else is left."""
    found = (path for path in (folder / "history").rglob("*") if path.is_symlink() or not path.is_dir())
    there = {path.relative_to(folder).as_posix(): path for path in found}
    unnamed = sorted(there.keys() - named)
    gone = [key for key in unnamed if _is_ours(key)]
    for key in gone:
        there[key].unlink()
    return len(gone), tuple(key for key in unnamed if key not in gone)


def _is_ours(key: str) -> bool:
    """Whether a file has a name that a backup gives."""
    place, _, name = key.rpartition("/")
    if name.startswith(".") and name.endswith(PART):
        key = f"{place}/{name[1 : -len(PART)]}"
    return bool(FILE_KEY.fullmatch(key) or commit_log.KEY.fullmatch(key))


def _each(keys: Iterable[str], do: Callable[[str], object]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(do, keys))
