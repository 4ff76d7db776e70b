"""Batches, commits and the history that they make up.

A batch is the content of one object or Postgres table when it was read. A commit lists the batches that one ingest
added; a batch is in the history if and only if a commit lists it. Commits are JSON files, written once.
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
from typing import Any

FLOWS = ("landed", "appended", "unchanged", "unreadable")
"""Row counts of a batch; the first is the sum of the others."""

SHOWN = ("table", "system", "source", "batch_date", *FLOWS)
"""Attributes of a batch that reports show."""

FORMAT = 1
"""Version of the commit format; other versions are refused."""

Place = tuple[date, bool, str, int]
"""Sort key of a table's batches in time."""


def place(batch_date: date, declared: bool, source: str, sequence: int) -> Place:
    """Return a batch's place in time: its date, so that dated batches may arrive in any order.

    Undated batches sort by arrival, after the batches that declare the same day.
    """
    return batch_date, not declared, source if declared else "", sequence


FILE_KEY = re.compile(
    r"history/(\w+)/batch=\1-\d{8}-\d{5,}-[0-9a-f]+/([0-9a-f]{8}/)?(rows|sightings|unreadable)(-\d{8})?\.parquet"
)
"""Keys that `file_key` returns or returned in earlier versions; other objects below history/ are not ours."""


def file_key(table: str, batch_id: str, role: str) -> str:
    """Return a new, unique key for a file of a batch, so that sweeping never deletes another ingest's file."""
    return f"history/{table}/batch={batch_id}/{token_hex(4)}/{role}.parquet"


def is_in_origin(source: str, origin: str) -> bool:
    """Whether a source is in an origin, a place in the landing zone."""
    return source == origin or source.startswith((f"{origin}/", f"{origin}."))


def _from_json(name: str, value: Any) -> Any:
    """Convert a JSON value to that of a batch's attribute."""
    if name in {"batch_date", "as_of"}:
        return date.fromisoformat(str(value))
    return tuple(value) if name == "columns" else value


@dataclass(frozen=True)
class Batch:
    """A batch of the history.

    Attributes
    ----------
    source
        ``s3://BUCKET/KEY`` or ``postgres:SCHEMA.TABLE``.
    batch_date
        Date declared by the path, metadata or comment, else the as-of date of the ingest.
    sequence
        Arrival number, over all tables.
    fingerprint
        State of the source, known without reading it: an object's ETag, or the fingerprint of a Postgres table.
    content_hash
        Hash of the content that was read.
    landed, appended, unchanged, unreadable
        Row counts; the first is the sum of the others.
    drift
        ``added``: columns that the definition lacks; ``missing``: columns that the source lacks; ``changed``: columns
        whose type differs from the previous batch, as in ``total_amount: number, now text``.
    columns
        Columns of the file of rows.
    types
        Column → type in the source.
    files
        Keys of its objects in the historic bucket: ``rows``, ``sightings`` (unchanged rows), ``unreadable``.
    sha256
        Checksum per file; empty in a history written by an earlier version.
    size
        Total bytes of the files.
    with_sightings
        Whether the file of rows also holds the unchanged rows, as large batches with few unchanged rows do.
    conflicting
        Keys with several different records of one update time; the last of them is the newest.
    gone
        Keys that the source held when it was last read and no longer holds; 0 for sources of the latest days.
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
    def row(self) -> dict[str, Any]:
        """The attributes that reports show."""
        return {name: getattr(self, name) for name in SHOWN}

    @property
    def identity(self) -> dict[str, Any]:
        """The attributes that identify the batch in a run's lineage."""
        named = ("batch_id", "source", "as_of", "landed", "size", "sha256")
        return {name: getattr(self, name) for name in named}

    @property
    def drifts(self) -> list[dict[str, Any]]:
        """Schema drift, one row per column."""
        batch = {"table": self.table, "source": self.source, "batch_date": self.batch_date}
        return [batch | {"drift": kind, "column": name} for kind, names in self.drift.items() for name in names]

    @property
    def place(self) -> Place:
        """Place in time among the batches of its table."""
        return place(self.batch_date, self.declared, self.source, self.sequence)


@dataclass(frozen=True)
class ErasedPeople:
    """The people that a commit erased from the history.

    Attributes
    ----------
    salt
        Salt of the hashes, the same for a whole history.
    people
        SHA-256 of salt and customer_id, per person.
    amended
        Batch id → the batch's changed attributes: counts, columns, files, checksums and size.
    mails
        SHA-256 of salt and e-mail, for e-mails that nobody else had.
    """

    salt: str
    people: tuple[str, ...]
    amended: dict[str, dict[str, Any]]
    mails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Withdrawal:
    """The batches that a commit withdrew from the history.

    Attributes
    ----------
    batches
        Batch id → the time at which its object was put, if it still existed; an object put later is a new batch.
    amended
        As in `ErasedPeople`; rows that were unchanged since a withdrawn batch are now appended.
    """

    batches: dict[str, str]
    amended: dict[str, dict[str, Any]]


NOTHING = Withdrawal({}, {})


@dataclass(frozen=True)
class Commit:
    """A change of the history: the batches of one ingest, an erasure or a withdrawal.

    Attributes
    ----------
    previous
        Digest of the previous commit, which keeps histories apart.
    origins
        Places in the landing zone where tables were found; it is an error if one disappears.
    fingerprints
        Source → fingerprint, for sources whose fingerprint changed but not their content.
    forgotten, withdrawn
        The erasure or withdrawal; None in the commit of an ingest. The names are those of the JSON.
    """

    number: int
    previous: str
    as_of: date
    origins: tuple[str, ...]
    fingerprints: dict[str, str]
    batches: tuple[Batch, ...]
    forgotten: ErasedPeople | None = None
    withdrawn: Withdrawal | None = None

    @property
    def amended(self) -> dict[str, dict[str, Any]]:
        """Batch id → changed attributes of earlier batches; if there are any, raw is rebuilt."""
        return (self.forgotten or self.withdrawn or NOTHING).amended

    @cached_property
    def text(self) -> str:
        """The commit as JSON."""
        return json.dumps({"format": FORMAT} | asdict(self), default=str, ensure_ascii=False)

    @cached_property
    def digest(self) -> str:
        """Digest of the commit and, through `previous`, of all earlier ones."""
        return md5(self.text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def read(cls, text: str | bytes) -> Commit:
        """Parse a commit.

        Raises
        ------
        ValueError, KeyError, TypeError
            The text is not a commit of a known format.
        """
        raw = json.loads(text)
        if raw.pop("format") != FORMAT:
            raise ValueError("a format of another version of duckbook")
        batches = tuple(
            Batch(**{name: _from_json(name, value) for name, value in batch.items()}) for batch in raw["batches"]
        )
        as_of, origins = date.fromisoformat(raw["as_of"]), tuple(raw["origins"])
        erased = raw.get("forgotten")
        forgotten = erased and ErasedPeople(
            erased["salt"], tuple(erased["people"]), erased["amended"], tuple(erased.get("mails", ()))
        )
        withdrawn = raw.get("withdrawn") and Withdrawal(**raw["withdrawn"])
        read = {"batches": batches, "as_of": as_of, "origins": origins, "forgotten": forgotten, "withdrawn": withdrawn}
        commit = cls(**raw | read)
        # The digest is of the text as written: another version may serialise a commit differently.
        commit.__dict__["text"] = text if isinstance(text, str) else text.decode()
        return commit


@dataclass(frozen=True)
class History:
    """All commits, in order."""

    commits: tuple[Commit, ...] = ()

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """Batches that were not withdrawn, in order of arrival, with all amendments."""
        amended: dict[str, dict[str, Any]] = {}
        for commit in self.commits:
            for batch_id, values in commit.amended.items():
                amended[batch_id] = amended.get(batch_id, {}) | {
                    name: _from_json(name, v) for name, v in values.items()
                }
        return tuple(
            replace(batch, **amended[batch.batch_id]) if batch.batch_id in amended else batch
            for batch in self.arrived
            if batch.batch_id not in self.withdrawn
        )

    @property
    def arrived(self) -> Iterator[Batch]:
        """Every batch that ever arrived, without amendments."""
        return (batch for commit in self.commits for batch in commit.batches)

    @cached_property
    def withdrawn(self) -> dict[str, str]:
        """Withdrawn batches, as in `Withdrawal.batches`."""
        return {name: put for c in self.commits if c.withdrawn for name, put in c.withdrawn.batches.items()}

    @cached_property
    def erased(self) -> frozenset[str]:
        """Hashes of the customer_id of every erased person."""
        return frozenset(person for commit in self.commits if commit.forgotten for person in commit.forgotten.people)

    @cached_property
    def erased_emails(self) -> frozenset[str]:
        """Hashes of the e-mails of erased people."""
        return frozenset(mail for commit in self.commits if commit.forgotten for mail in commit.forgotten.mails)

    @property
    def salt(self) -> str:
        """Salt of the hashes; empty if nobody was erased."""
        return next((commit.forgotten.salt for commit in self.commits if commit.forgotten), "")

    @cached_property
    def newest(self) -> dict[str, Batch]:
        """Source → its last batch."""
        return {batch.source: batch for batch in self.batches}

    @cached_property
    def last_read(self) -> dict[str, Batch]:
        """Source → the batch that was last read from it, withdrawn or not."""
        return {batch.source: batch for batch in self.arrived}

    @cached_property
    def fingerprints(self) -> dict[str, str | None]:
        """Source → its last known fingerprint."""
        fingerprints: dict[str, str | None] = {}
        for commit in self.commits:
            fingerprints |= {batch.source: batch.fingerprint for batch in commit.batches} | commit.fingerprints
        return fingerprints

    @property
    def origins(self) -> set[str]:
        """Places in the landing zone where tables were found, except those whose batches were all withdrawn."""
        origins = {origin for commit in self.commits for origin in commit.origins}
        kept = {batch.source for batch in self.batches}
        gone = {batch.source for batch in self.arrived} - kept
        return {
            o for o in origins if not any(is_in_origin(s, o) for s in gone) or any(is_in_origin(s, o) for s in kept)
        }

    @property
    def as_of(self) -> date | None:
        """As-of date of the last commit."""
        return self.commits[-1].as_of if self.commits else None

    @property
    def digest(self) -> str:
        """Digest of the last commit; identifies the history so far."""
        return self.commits[-1].digest if self.commits else ""

    @property
    def next_number(self) -> int:
        """Number of the next commit."""
        return self.commits[-1].number + 1 if self.commits else 1

    @property
    def next_sequence(self) -> int:
        """Number of the next batch to arrive."""
        return max((batch.sequence for batch in self.arrived), default=0) + 1
