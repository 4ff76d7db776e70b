"""Batches and the commits that name them: the bookkeeping of the history.

A batch is what one object, or one Postgres table, held when it was read. A commit is what one ingest added to the
history; a batch belongs to the history if and only if a commit names it. Commits are plain JSON, written once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cached_property
from hashlib import md5
from secrets import token_hex

FLOWS = ("landed", "appended", "unchanged", "unreadable")
"""The counts of rows that a batch carries; the first is the sum of the others."""

SHOWN = ("table", "system", "source", "batch_date", *FLOWS)
"""What a person wants to see of a batch."""

FORMAT = 1
"""Of the commits' JSON; a reader refuses one that it does not know."""


Place = tuple[date, bool, str, int]
"""What sorts the batches of a table in time."""


def place(batch_date: date, declared: bool, source: str, sequence: int) -> Place:
    """The place of a batch: by its date, so that those which declare one may arrive in any order.

    A batch without a date has its place by its arrival, after those that declare the day on which it came.
    """
    return batch_date, not declared, source if declared else "", sequence


FILE_KEY = re.compile(
    r"history/(\w+)/batch=\1-\d{8}-\d{5,}-[0-9a-f]+/([0-9a-f]{8}/)?(rows|sightings|unreadable)(-\d{8})?\.parquet"
)
"""The keys that `file_key` gives, and gave: what else lies below history/ is somebody else's."""


def file_key(table: str, batch_id: str, role: str) -> str:
    """A key for a file of a batch, which no other ingest or erasure gives: what one of them sweeps away is its own."""
    return f"history/{table}/batch={batch_id}/{token_hex(4)}/{role}.parquet"


def lies_in(source: str, origin: str) -> bool:
    """Whether a source lies at a place in the landing zone."""
    return source == origin or source.startswith((f"{origin}/", f"{origin}."))


def read_value(name: str, value: object) -> object:
    """A value of a batch as it is, of what JSON made of it."""
    if name in {"batch_date", "as_of"}:
        return date.fromisoformat(str(value))
    return tuple(value) if name == "columns" else value


@dataclass(frozen=True)
class Batch:
    """A batch of the history.

    Attributes
    ----------
    source
        Where it was read: ``s3://BUCKET/KEY`` or ``postgres:SCHEMA.TABLE``.
    batch_date
        The date that its path, metadata or comment declares, else the as-of date of the ingest that it arrived in.
    sequence
        Number of its arrival, over all tables.
    fingerprint
        What tells, without reading it, that the source has not changed since: the ETag, or the state of the table.
    content_hash
        What tells whether the content is the same as before, once it has been read.
    landed, appended, unchanged, unreadable
        Rows; the first is the sum of the others.
    drift
        ``added``: columns that the definition lacks; ``missing``: columns that the source lacks; ``changed``: columns
        whose type is another than in the batch before, as in ``total_amount: number, now text``.
    columns
        Columns of the file of rows.
    types
        Column → type that the source gives it.
    files
        Keys of its objects in the historic bucket: ``rows``, ``sightings``, ``unreadable``, as far as there are such.
    sha256
        Checksums of these, as they were put; none in a history that an earlier version wrote.
    size
        Bytes of these together.
    with_sightings
        Whether the file of rows holds those as well that the sightings name by their numbers: to leave out a few of
        many, the file would have to be written a second time.
    conflicting
        Keys of which it holds several records that differ and hold from the same time: the last of them is the newest.
    gone
        Keys that its source held when it was read before and holds no more; not counted where it holds the latest days.
    """

    batch_id: str
    table: str
    system: str
    source: str
    batch_date: date
    declared: bool
    sequence: int
    fingerprint: str | None
    content_hash: str
    as_of: date
    landed: int
    appended: int
    unchanged: int
    unreadable: int
    drift: dict[str, list[str]]
    columns: tuple[str, ...]
    files: dict[str, str]
    types: dict[str, str] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    size: int = 0
    with_sightings: bool = False
    conflicting: int = 0
    gone: int = 0

    @property
    def row(self) -> dict:
        """What a person wants to see of it."""
        return {name: getattr(self, name) for name in SHOWN}

    @property
    def identity(self) -> dict:
        """What tells it apart from every other one, for the lineage of a run."""
        named = ("batch_id", "source", "as_of", "landed", "size", "sha256")
        return {name: getattr(self, name) for name in named}

    @property
    def drifts(self) -> list[dict]:
        """What drifted in it, a row a column: what a person wants to see of that."""
        told = {"table": self.table, "source": self.source, "batch_date": self.batch_date}
        return [told | {"drift": kind, "column": name} for kind, names in self.drift.items() for name in names]

    @property
    def place(self) -> Place:
        """Its place in time among the batches of its table."""
        return place(self.batch_date, self.declared, self.source, self.sequence)


@dataclass(frozen=True)
class Forgetting:
    """What a commit erased from the history.

    Attributes
    ----------
    salt
        What the ids of people are hashed with, the same in a whole history.
    people
        SHA-256 of salt and customer_id, of each person who is forgotten by this commit.
    amended
        Batch id → what is different of the batch since: counts, columns, files, checksums and size.
    mails
        SHA-256 of salt and e-mail, of those that nobody else had.
    """

    salt: str
    people: tuple[str, ...]
    amended: dict[str, dict]
    mails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Withdrawal:
    """Which batches a commit took out of the history.

    Attributes
    ----------
    batches
        Batch id → when its object had been put, as far as it was there; where that is put again, it is landed anew.
    amended
        As of `Forgetting`: of batches that had seen rows of these again, and hold them now.
    """

    batches: dict[str, str]
    amended: dict[str, dict]


NOTHING = Withdrawal({}, {})


@dataclass(frozen=True)
class Commit:
    """What one ingest added to the history, or what was taken from it.

    Attributes
    ----------
    previous
        Digest of the commit before it, so that two histories are never taken for one.
    origins
        Places in the landing zone where tables were found: a place that was there and is missing is an error.
    fingerprints
        Source → fingerprint, of sources that changed their fingerprint but not their content.
    forgotten, withdrawn
        What was erased, and which batches were taken out; both None in the commit of an ingest.
    """

    number: int
    previous: str
    as_of: date
    origins: tuple[str, ...]
    fingerprints: dict[str, str]
    batches: tuple[Batch, ...]
    forgotten: Forgetting | None = None
    withdrawn: Withdrawal | None = None

    @property
    def amended(self) -> dict[str, dict]:
        """Batch id → what is different since of a batch that came before; where it is anything, raw is made anew."""
        return (self.forgotten or self.withdrawn or NOTHING).amended

    @cached_property
    def text(self) -> str:
        """The commit as JSON."""
        return json.dumps({"format": FORMAT} | asdict(self), default=str, ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """What identifies the commit and all those before it."""
        return md5(self.text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def read(cls, text: str | bytes) -> Commit:
        """Parse a commit.

        Raises
        ------
        ValueError, KeyError, TypeError
            The text is not a commit of a format that is known.
        """
        raw = json.loads(text)
        if raw.pop("format") != FORMAT:
            raise ValueError("a format of another version of duckbook")
        batches = tuple(
            Batch(**{name: read_value(name, value) for name, value in batch.items()}) for batch in raw["batches"]
        )
        as_of, origins = date.fromisoformat(raw["as_of"]), tuple(raw["origins"])
        told = raw.get("forgotten")
        forgotten = told and Forgetting(
            told["salt"], tuple(told["people"]), told["amended"], tuple(told.get("mails", ()))
        )
        withdrawn = raw.get("withdrawn") and Withdrawal(**raw["withdrawn"])
        read = {"batches": batches, "as_of": as_of, "origins": origins, "forgotten": forgotten, "withdrawn": withdrawn}
        commit = cls(**raw | read)
        # The digest is that of what was written, also when a later version would write it otherwise.
        commit.__dict__["text"] = text if isinstance(text, str) else text.decode()
        return commit


@dataclass(frozen=True)
class Chronicle:
    """All that has been committed, in order."""

    commits: tuple[Commit, ...] = ()

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """Every batch but those that were withdrawn, in order of arrival, as it is since anything was taken out."""
        amended: dict[str, dict] = {}
        for commit in self.commits:
            for batch_id, values in commit.amended.items():
                amended[batch_id] = amended.get(batch_id, {}) | {
                    name: read_value(name, v) for name, v in values.items()
                }
        return tuple(
            replace(batch, **amended[batch.batch_id]) if batch.batch_id in amended else batch
            for batch in self.arrived
            if batch.batch_id not in self.withdrawn
        )

    @property
    def arrived(self) -> Iterator[Batch]:
        """Every batch that ever arrived, as it did."""
        return (batch for commit in self.commits for batch in commit.batches)

    @cached_property
    def withdrawn(self) -> dict[str, str]:
        """The batches that were withdrawn, as in `Withdrawal`."""
        return {name: put for c in self.commits if c.withdrawn for name, put in c.withdrawn.batches.items()}

    @cached_property
    def forgotten(self) -> frozenset[str]:
        """The hashes of everybody who was forgotten."""
        return frozenset(person for commit in self.commits if commit.forgotten for person in commit.forgotten.people)

    @cached_property
    def forgotten_mails(self) -> frozenset[str]:
        """The hashes of their e-mails."""
        return frozenset(mail for commit in self.commits if commit.forgotten for mail in commit.forgotten.mails)

    @property
    def salt(self) -> str | None:
        """What these hashes are salted with; None where nobody was forgotten."""
        return next((commit.forgotten.salt for commit in self.commits if commit.forgotten), None)

    @cached_property
    def newest(self) -> dict[str, Batch]:
        """Source → the batch that it held last."""
        return {batch.source: batch for batch in self.batches}

    @cached_property
    def last_read(self) -> dict[str, Batch]:
        """Source → the batch that was read of it last, also where that was withdrawn."""
        return {batch.source: batch for batch in self.arrived}

    @cached_property
    def fingerprints(self) -> dict[str, str | None]:
        """Source → fingerprint at the last ingest that saw it change."""
        found: dict[str, str | None] = {}
        for commit in self.commits:
            found |= {batch.source: batch.fingerprint for batch in commit.batches} | commit.fingerprints
        return found

    @property
    def origins(self) -> set[str]:
        """Every place in the landing zone where a table was found, unless all that it held was withdrawn."""
        found = {origin for commit in self.commits for origin in commit.origins}
        held = {batch.source for batch in self.batches}
        gone = {batch.source for batch in self.arrived} - held
        return {o for o in found if not any(lies_in(s, o) for s in gone) or any(lies_in(s, o) for s in held)}

    @property
    def as_of(self) -> date | None:
        """The as-of date of the last commit."""
        return self.commits[-1].as_of if self.commits else None

    @property
    def digest(self) -> str:
        """What identifies the history so far."""
        return self.commits[-1].digest if self.commits else ""

    @property
    def next_number(self) -> int:
        """Number of the commit that comes next."""
        return self.commits[-1].number + 1 if self.commits else 1

    @property
    def next_sequence(self) -> int:
        """Number of the next batch to arrive."""
        return max((batch.sequence for batch in self.arrived), default=0) + 1
