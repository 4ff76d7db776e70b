"""Remove old runs, old publications and leftovers.

Never removed are running runs, the newest run, the publication that readers use and its run, and objects of the
history that a commit names.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from duckbook.backends import data_folder, servers
from duckbook.backends.lock import one_writer
from duckbook.ingest.batches import FILE_KEY
from duckbook.publish import published_files, publisher
from duckbook.publish.publication import removable
from duckbook.runs import provenance, run_archive
from duckbook.settings import Settings

LEFTOVER_AGE = timedelta(days=1)
"""Minimum age of a leftover; younger files may be in use, also on another machine."""

RUN = re.compile(r"\d{8}T\d{6}-\d{3}")

KINDS = ("run", "publication", "leftover")


@dataclass(frozen=True)
class Removal:
    """Something to remove; `size` is in bytes."""

    kind: str
    name: str
    size: int
    remove: Callable[[], object] = field(repr=False, compare=False)


def prune(settings: Settings, *, dry_run: bool = False) -> tuple[list[Removal], str | None]:
    """Remove runs and publications beyond the limits of the settings, and leftovers.

    Parameters
    ----------
    dry_run
        Only list what would be removed.

    Returns
    -------
    tuple
        What was, or would be, removed; and a sentence on what could not be checked, or None.

    Raises
    ------
    ChainError
        A run is using the data folder.
    ServerError
        The object storage does not answer.
    """
    with ExitStack() as stack:
        if settings.data.exists():
            stack.enter_context(one_writer(settings, "a clean-up of old runs"))
        removals = [*_runs(settings), *_publications(settings), *_local(settings)]
        unchecked = None
        if _is_object_storage_up(settings):
            removals += _objects(settings)
        elif settings.data.exists():
            unchecked = "The history was not searched for leftovers, because the object storage is down: run `make up`."
        if not dry_run:
            for removal in removals:
                removal.remove()
    if removals and not dry_run and settings.runs.exists():
        from duckbook.runs import page

        page.write_index(settings.runs)
    return removals, unchecked


def size_of(folder: Path) -> int:
    """Total bytes of the files in a folder, without following links."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _runs(settings: Settings) -> Iterator[Removal]:
    current = publisher.current(settings)
    here = provenance.data_folder(settings)
    newest = run_archive.latest(settings.runs, here)
    # Only runs of this data folder: for others the publication in use is unknown.
    for record in run_archive.read_all(settings.runs, here)[settings.keep_runs :]:
        name = record["run_id"]
        in_use = current is not None and (record.get("publication") or {}).get("name") == current.run_id
        if record["status"] != run_archive.RUNNING and not in_use and (newest is None or newest.name != name):
            yield _folder("run", settings.runs / name)


def _publications(settings: Settings) -> Iterator[Removal]:
    current = publisher.current(settings)
    kept = publisher.publications(settings)
    for publication in removable(kept, current.run_id if current else None, settings.keep_publications):
        name = publication.run_id
        # Unknown for the lake, which removes files a day after their last snapshot.
        size = 0 if settings.target == "lake" else size_of(settings.data / "published" / name)
        yield Removal("publication", name, size, partial(publisher.remove, settings, name))


def _local(settings: Settings) -> Iterator[Removal]:
    """Leftovers of killed processes in the data folder and in the archive."""
    oldest = time.time() - LEFTOVER_AGE.total_seconds()
    candidates = [(settings.data, path) for path in published_files.Backend(settings).leftovers()]
    if data_folder.made_by_duckbook(settings.data, "tmp"):
        candidates += [(settings.data, path) for path in settings.data.glob("tmp/*")]
    candidates += [(settings.runs, path) for path in settings.runs.glob("*/") if RUN.fullmatch(path.name)]
    for root, path in candidates:
        if path.lstat().st_mtime < oldest and not (path / "run.json").exists():
            name = path.relative_to(root).as_posix()
            if path.is_dir() and not path.is_symlink():
                yield _folder("leftover", path, name)
            else:
                yield Removal("leftover", name, path.lstat().st_size, path.unlink)


def _folder(kind: str, path: Path, name: str | None = None) -> Removal:
    def remove() -> None:
        # First the record: a folder without it is a leftover, should the removal be killed.
        (path / "run.json").unlink(missing_ok=True)
        shutil.rmtree(path)

    return Removal(kind, name or path.name, size_of(path), remove)


def _is_object_storage_up(settings: Settings) -> bool:
    return any(row["name"] == "s3" and row["state"] != "stopped" for row in servers.status(settings))


def _objects(settings: Settings) -> Iterator[Removal]:
    """Objects under ``history/`` that no commit names, left by killed ingestions."""
    from duckbook.backends import storage
    from duckbook.ingest import commit_log

    bucket, client = settings.s3_historic_bucket, storage.client(servers.up(settings).s3)
    # List before reading the commits, so that objects committed meanwhile are named.
    listed = storage.list_objects(client, bucket, "history/")
    named = {key for batch in commit_log.read(client, bucket).batches for key in batch.files.values()}
    oldest = datetime.now(UTC) - LEFTOVER_AGE
    for stored in listed:
        key = stored.key
        if FILE_KEY.fullmatch(key) and key not in named and stored.put_at < oldest:
            yield Removal("leftover", key, stored.size, partial(storage.delete, client, bucket, key))
