"""Keeping runs, publications and leftovers within bounds, and saying what that frees.

Never removed are a run that goes on, the newest run, the publication that readers take and the run that made it, and
anything of the history that a commit names.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from duckbook.backends import data_folder, servers
from duckbook.backends.lock import one_writer
from duckbook.ingest.batches import FILE_KEY
from duckbook.publish import published_files, publisher
from duckbook.publish.publication import removable
from duckbook.runs import provenance, run_archive
from duckbook.settings import Settings

LEFT_FOR = timedelta(days=1)
"""How old a leftover is before it is taken for one: what is younger may be somebody's work, on another machine too."""

RUN = re.compile(r"\d{8}T\d{6}-\d{3}")

KINDS = ("run", "publication", "leftover")


@dataclass(frozen=True)
class Removal:
    """Something to remove: one of `KINDS`, its name, its size in bytes, and how."""

    kind: str
    name: str
    size: int
    remove: Callable[[], object] = field(repr=False, compare=False)


def prune(settings: Settings, *, dry_run: bool = False) -> tuple[list[Removal], str | None]:
    """Remove what is beyond the bounds of the settings.

    Parameters
    ----------
    dry_run
        Only say what would be removed.

    Returns
    -------
    tuple
        What was, or would be, removed; and a sentence on what could not be looked at, or None.

    Raises
    ------
    ChainError
        A run is at work on the store.
    ServerError
        The object store does not answer.
    """
    with ExitStack() as stack:
        if settings.data.exists():
            stack.enter_context(one_writer(settings, "a clean-up of old runs"))
        found = [*_runs(settings), *_publications(settings), *_local(settings)]
        unseen = None
        if _object_store_answers(settings):
            found += _objects(settings)
        elif settings.data.exists():
            unseen = "Leftovers in the history were not looked for, since the object store is down: `make up` first."
        if not dry_run:
            for removal in found:
                removal.remove()
    if found and not dry_run and settings.runs.exists():
        from duckbook.runs import page

        page.write_index(settings.runs)
    return found, unseen


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _runs(settings: Settings) -> Iterator[Removal]:
    current = publisher.current(settings)
    here = provenance.store(settings)
    newest = run_archive.latest(settings.runs, here)
    # Which run of another data folder made what its readers take, only that folder can tell.
    for record in run_archive.read_all(settings.runs, here)[settings.keep_runs :]:
        name = record["run_id"]
        made = current is not None and (record.get("publication") or {}).get("name") == current.run_id
        if record["status"] != run_archive.RUNNING and not made and (newest is None or newest.name != name):
            yield _folder("run", settings.runs / name)


def _publications(settings: Settings) -> Iterator[Removal]:
    current = publisher.current(settings)
    kept = publisher.publications(settings)
    for publication in removable(kept, current and current.run_id, settings.keep_publications):
        name = publication.run_id
        # What it frees of a lake is told by nobody: that removes files a day after the last snapshot that named them.
        size = 0 if settings.target == "lake" else size_of(settings.data / "published" / name)
        yield Removal("publication", name, size, lambda name=name: publisher.remove(settings, name))


def _local(settings: Settings) -> Iterator[Removal]:
    """What killed publications, ingests, clean-ups and DuckDB left in the data folder and in the archive."""
    oldest = time.time() - LEFT_FOR.total_seconds()
    left = [(settings.data, path) for path in published_files.leftovers(settings)]
    if data_folder.made_by_duckbook(settings.data, "tmp"):
        left += [(settings.data, path) for path in settings.data.glob("tmp/*")]
    left += [(settings.runs, path) for path in settings.runs.glob("*/") if RUN.fullmatch(path.name)]
    for root, path in left:
        if path.lstat().st_mtime < oldest and not (path / "run.json").exists():
            name = path.relative_to(root).as_posix()
            if path.is_dir() and not path.is_symlink():
                yield _folder("leftover", path, name)
            else:
                yield Removal("leftover", name, path.lstat().st_size, path.unlink)


def _folder(kind: str, path: Path, name: str | None = None) -> Removal:
    def remove() -> None:
        # First what makes it a run: one whose removal is killed half way is none.
        (path / "run.json").unlink(missing_ok=True)
        shutil.rmtree(path)

    return Removal(kind, name or path.name, size_of(path), remove)


def _object_store_answers(settings: Settings) -> bool:
    return any(row["name"] == "s3" and row["state"] != "stopped" for row in servers.status(settings))


def _objects(settings: Settings) -> Iterator[Removal]:
    """Objects below ``history/`` that no commit names: what ingests left that were killed on another machine."""
    from duckbook.backends import storage
    from duckbook.ingest import commit_log

    bucket, client = settings.s3_historic_bucket, storage.client(servers.up(settings).s3)
    # Listed first, so that what is committed meanwhile is in the log that is read after it.
    listed = storage.list_objects(client, bucket, "history/")
    named = {key for batch in commit_log.read(client, bucket).batches for key in batch.files.values()}
    oldest = datetime.now(UTC) - LEFT_FOR
    for stored in listed:
        key = stored.key
        if FILE_KEY.fullmatch(key) and key not in named and stored.put_at < oldest:
            yield Removal("leftover", key, stored.size, lambda key=key: storage.delete(client, bucket, key))
