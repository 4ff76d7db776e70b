"""What a publication is, wherever it is kept, and the sentences for one that is not there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from duckbook.errors import PublishError

Kept = TypeVar("Kept", bound="Publication")


@dataclass(frozen=True)
class Publication:
    """Published marts: which run made them, of which as-of date, the rows of each, and whether persons are masked."""

    run_id: str
    as_of: str | None
    marts: dict[str, int]
    masked: bool = True


@dataclass(frozen=True)
class Pinned(Publication):
    """A publication of the shared lake; `snapshot` is the one that holds its marts."""

    snapshot: int = 0
    personal: dict[str, list[str]] = field(default_factory=dict)
    """Mart → the columns of it that readers see masked."""


@dataclass(frozen=True)
class Outgoing:
    """A mart that is to be published.

    Attributes
    ----------
    query
        What is published of it: all of its columns, the personal ones masked unless a setting says otherwise.
    sorted_by
        The columns by whose order its rows are kept, where they are kept in a file.
    personal
        The columns that the query masks.
    """

    query: str
    sorted_by: tuple[str, ...]
    personal: tuple[str, ...]


def chosen(kept: list[Kept], current: Kept | None, as_of: str | None = None, run_id: str | None = None) -> Kept:
    """The publication that a reader asks for: of a run, of an as-of date (the current one first), or the current one.

    Raises
    ------
    PublishError
        Nothing has been published yet, or what is asked for is not kept; the sentence says what is.
    """
    if run_id is not None:
        found = next((publication for publication in kept if publication.run_id == run_id), None)
        return found or _refuse(f"There is no publication {run_id}: kept are", (p.run_id for p in kept))
    if as_of is not None:
        known = [*([current] if current else []), *kept]
        found = next((publication for publication in known if publication.as_of == as_of), None)
        return found or _refuse(
            f"No publication as of {as_of} is kept: there are", sorted({str(p.as_of) for p in kept})
        )
    if current is None:
        raise PublishError("Nothing has been published yet: run 07_publish.ipynb first, or `make pipeline`.")
    return current


def free_name(run_id: str, taken: Iterable[str]) -> str:
    """The name of a run's publication: a run that publishes twice leaves what its readers may have open alone."""
    known, number, name = set(taken), 1, run_id
    while name in known:
        number, name = number + 1, f"{run_id}-{number + 1}"
    return name


def _refuse(sentence: str, kept: Iterable[str]) -> None:
    raise PublishError(f"{sentence} {', '.join(kept) or 'none'}.")
