"""The manifest: what the landing zone says about itself, in one object beside the data.

It fixes seed, size and dates of a store that has been generated, and says which landings are complete, so that a
killed one is done again and a finished one is left alone. Nothing here generates anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from duckbook.backends import storage
from duckbook.errors import LandingError
from duckbook.files import write_private
from duckbook.settings import Endpoints, S3Endpoint, Settings

KEY = "landing.json"

_DATES = ("first_as_of", "last_as_of")


@dataclass(frozen=True)
class Manifest:
    """What has been landed.

    Attributes
    ----------
    customers, seed, dirt, first_as_of, planted
        What the store was generated with.
    history
        What the historic load landed, a record an object or table; None while it is not complete.
    latest
        As-of date (ISO) → what that landing of the latest days landed; only complete ones.
    """

    customers: int
    seed: int
    dirt: float
    first_as_of: date
    history: list[dict] | None = None
    latest: dict[str, list[dict]] = field(default_factory=dict)
    planted: str = ""

    @property
    def complete(self) -> bool:
        """Whether the historic load is complete."""
        return self.history is not None

    @property
    def last_as_of(self) -> date | None:
        """The newest landed as-of date."""
        return date.fromisoformat(max(self.latest)) if self.latest else None


def read(settings: Settings, endpoints: Endpoints) -> Manifest | None:
    """The manifest of the landing zone, or None where nothing has been generated.

    Raises
    ------
    LandingError
        The object is there and is no manifest.
    """
    bucket = settings.s3_historic_bucket
    data = storage.get_bytes(_client(endpoints.s3), bucket, KEY)
    return None if data is None else parse(data, f"s3://{bucket}/{KEY}")


def parse(data: bytes, where: str) -> Manifest:
    """The manifest in an object or file.

    Raises
    ------
    LandingError
        It is none.
    """
    try:
        values = json.loads(data)
        values["first_as_of"] = date.fromisoformat(values["first_as_of"])
        values.pop("last_as_of")
        return Manifest(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LandingError(
            f"{where} is no manifest of a generated store: move it away, or choose another bucket by "
            "DUCKBOOK_S3_HISTORIC_BUCKET."
        ) from None


def write(settings: Settings, endpoints: Endpoints, manifest: Manifest) -> None:
    """Put the manifest in its place, whole."""
    values = asdict(manifest) | {"last_as_of": manifest.last_as_of}
    for name in _DATES:
        values[name] = values[name].isoformat() if values[name] else None
    data = json.dumps(values, indent=1).encode()
    storage.put_bytes(_client(endpoints.s3), settings.s3_historic_bucket, KEY, data)
    if settings.embedded_s3 and _copy(settings).parent.is_dir():
        write_private(_copy(settings), data)


def written(settings: Settings) -> Manifest | None:
    """What this store has generated into its own object store, told while that is down; None where it has not."""
    try:
        return parse(_copy(settings).read_bytes(), str(_copy(settings)))
    except FileNotFoundError:
        return None


def _copy(settings: Settings) -> Path:
    """A copy beside the embedded servers, so that it goes when they do."""
    return settings.data / "servers" / f"{settings.s3_historic_bucket}.{KEY}"


@lru_cache(maxsize=4)
def _client(s3: S3Endpoint):
    # A client takes 40 ms to make, and the manifest is read often.
    return storage.client(s3)


FIXED = ("customers", "seed", "dirt", "first_as_of", "planted")
"""What a store is generated with: fixed in the landing zone from then on."""


def resolve_as_of(settings: Settings, endpoints: Endpoints, requested: date | None) -> date:
    """The as-of date to work with: the requested one, else the last one landed, else the first of the settings."""
    if requested is not None:
        return requested
    landed = read(settings, endpoints)
    return (landed and (landed.last_as_of or landed.first_as_of)) or settings.first_as_of


def next_as_of(settings: Settings, endpoints: Endpoints) -> date:
    """The as-of date that follows: the day after the last one landed, or the first of the settings."""
    landed = read(settings, endpoints)
    if landed and landed.last_as_of:
        return landed.last_as_of + timedelta(days=1)
    return landed.first_as_of if landed else settings.first_as_of


def choose(
    settings: Settings,
    endpoints: Endpoints,
    *,
    customers: int | None = None,
    seed: int | None = None,
    dirt: float | None = None,
    planted: str | None = None,
    as_of: date | None = None,
) -> dict:
    """What to generate: as given, else as set in the settings, else as landed before, else the default.

    Parameters
    ----------
    as_of
        The as-of date of this run; on an empty landing zone the history ends 30 days before it.

    Returns
    -------
    dict
        The keyword arguments of `land_history`.
    """
    given = {"customers": customers, "seed": seed, "dirt": dirt, "planted": planted}
    store = wanted(settings, read(settings, endpoints), given, as_of)
    return {name: getattr(store, name) for name in FIXED}


def wanted(settings: Settings, landed: Manifest | None, given: Mapping[str, Any], as_of: date | None) -> Manifest:
    """The store that `choose` chooses beside what has been landed."""
    chosen = {name: given.get(name) for name in FIXED} | {"first_as_of": None if landed and landed.complete else as_of}
    for name, value in chosen.items():
        if value is None:
            source = landed if landed and name not in settings.model_fields_set else settings
            chosen[name] = getattr(source, name)
    chosen["planted"] = " ".join(sorted(chosen["planted"].replace(",", " ").split()))
    return Manifest(**chosen)


NO_HISTORY = "The history has not been landed: run 01_generate_history.ipynb first, or `make pipeline`."


def refuse_another(settings: Settings, found: Manifest, wanted: Manifest) -> None:
    """See that the store that is wanted is the one that has been landed.

    Raises
    ------
    LandingError
        It is another one.
    """
    for name in FIXED:
        have, want = getattr(found, name), getattr(wanted, name)
        if have != want:
            there = f"{name}={have}"
            raise LandingError(
                f"The landing zone s3://{settings.s3_historic_bucket} holds a store generated with {there}, not "
                f"{want or repr(want)}: go on with {there}, or take another data folder (DATA=folder), or `make clean`."
            )


def refuse_what_others_landed(found: Sequence[str]) -> None:
    """See that no data lie in the landing zone that were not generated: they would be mixed with ours, or lost.

    Raises
    ------
    LandingError
        There are some.
    """
    if found:
        raise LandingError(
            f"The landing zone holds data that was not generated here, such as {found[0]}: run what is landed by "
            "`make pipeline GENERATE=0`, or take another data folder (DATA=folder) to generate a store."
        )


def refuse_the_past(found: Manifest, as_of: date) -> None:
    """See that an as-of date is not before what has been landed.

    Raises
    ------
    LandingError
        It is.
    """
    if found.last_as_of and as_of < found.last_as_of:
        raise LandingError(
            f"The landing zone has been filled up to {found.last_as_of}, and {as_of} is earlier: take "
            f"{found.last_as_of} or a later as-of date, or another data folder (DATA=folder)."
        )
    if as_of < found.first_as_of:
        raise LandingError(
            f"The latest days of {as_of} lie within the history, which ends 30 days before {found.first_as_of}: take "
            f"{found.first_as_of} or a later as-of date, or another data folder (DATA=folder)."
        )
