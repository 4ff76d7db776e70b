"""The manifest: an object in the landing zone that describes the data generated into it.

It fixes the seed, size and dates of a simulated shop, and lists the complete landings: an interrupted one is repeated,
a complete one is not. Nothing here generates data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook.backends import storage
from duckbook.errors import LandingError
from duckbook.files import write_private
from duckbook.settings import Endpoints, S3Endpoint, Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "landing.json"

_DATES = ("first_as_of", "last_as_of")


@dataclass(frozen=True)
class Manifest:
    """A manifest.

    Attributes
    ----------
    customers, seed, dirt, first_as_of, planted
        Parameters of the simulated shop.
    history
        The objects and tables of the historic load, one record each; None until it is complete.
    latest
        As-of date (ISO) → the same for that landing of the latest days; complete ones only.
    """

    customers: int
    seed: int
    dirt: float
    first_as_of: date
    history: list[dict[str, Any]] | None = None
    latest: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
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
    """Return the manifest of the landing zone, or None if nothing has been generated.

    Raises
    ------
    LandingError
        The object is not a manifest.
    """
    bucket = settings.s3_historic_bucket
    data = storage.get_bytes(_client(endpoints.s3), bucket, KEY)
    return None if data is None else parse(data, f"s3://{bucket}/{KEY}")


def parse(data: bytes, where: str) -> Manifest:
    """Parse a manifest from an object or file.

    Raises
    ------
    LandingError
        It is not a manifest.
    """
    try:
        values = json.loads(data)
        values["first_as_of"] = date.fromisoformat(values["first_as_of"])
        values.pop("last_as_of")
        return Manifest(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LandingError(
            f"{where} is not a manifest of a generated shop: move it away, or choose another bucket with "
            "DUCKBOOK_S3_HISTORIC_BUCKET."
        ) from None


def write(settings: Settings, endpoints: Endpoints, manifest: Manifest) -> None:
    """Write the manifest, atomically."""
    values = asdict(manifest) | {"last_as_of": manifest.last_as_of}
    for name in _DATES:
        values[name] = values[name].isoformat() if values[name] else None
    data = json.dumps(values, indent=1).encode()
    storage.put_bytes(_client(endpoints.s3), settings.s3_historic_bucket, KEY, data)
    if settings.embedded_s3 and _copy(settings).parent.is_dir():
        write_private(_copy(settings), data)


def read_local_copy(settings: Settings) -> Manifest | None:
    """Return the manifest in the embedded S3 server, also while it is down, or None if nothing has been generated."""
    try:
        return parse(_copy(settings).read_bytes(), str(_copy(settings)))
    except FileNotFoundError:
        return None


def _copy(settings: Settings) -> Path:
    """Return the path of the copy, next to the embedded servers, so that it is deleted with them."""
    return settings.data / "servers" / f"{settings.s3_historic_bucket}.{KEY}"


@lru_cache(maxsize=4)
def _client(s3: S3Endpoint) -> S3Client:
    # Creating a client takes 40 ms, and the manifest is read often.
    return storage.client(s3)


FIXED = ("customers", "seed", "dirt", "first_as_of", "planted")
"""Parameters of a simulated shop, fixed in the landing zone by the first landing."""


def resolve_as_of(settings: Settings, endpoints: Endpoints, requested: date | None) -> date:
    """Return the as-of date to use: the requested one, else the last one landed, else the first of the settings."""
    if requested is not None:
        return requested
    landed = read(settings, endpoints)
    return (landed and (landed.last_as_of or landed.first_as_of)) or settings.first_as_of


def next_as_of(settings: Settings, endpoints: Endpoints) -> date:
    """Return the next as-of date: the day after the last one landed, or the first of the settings."""
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
) -> dict[str, Any]:
    """Return the parameters to generate with: as given, else as set, else as landed before, else the default.

    Parameters
    ----------
    as_of
        As-of date of this run; in an empty landing zone the history ends 30 days before it.

    Returns
    -------
    dict
        The keyword arguments of `land_history`.
    """
    given = {"customers": customers, "seed": seed, "dirt": dirt, "planted": planted}
    shop = requested(settings, read(settings, endpoints), given, as_of)
    return {name: getattr(shop, name) for name in FIXED}


def requested(settings: Settings, landed: Manifest | None, given: Mapping[str, Any], as_of: date | None) -> Manifest:
    """Return the manifest that `choose` decides on, given the landed one."""
    chosen: dict[str, Any] = {name: given.get(name) for name in FIXED}
    chosen["first_as_of"] = None if landed and landed.complete else as_of
    for name, value in chosen.items():
        if value is None:
            source = landed if landed and name not in settings.model_fields_set else settings
            chosen[name] = getattr(source, name)
    chosen["planted"] = " ".join(sorted(chosen["planted"].replace(",", " ").split()))
    return Manifest(**chosen)


NO_HISTORY = (
    "The history has not been landed: run notebooks/pipeline/01_generate_history.ipynb first, or `make pipeline`."
)


def check_same_shop(settings: Settings, landed: Manifest, requested: Manifest) -> None:
    """Check that the landed shop has the requested parameters.

    Raises
    ------
    LandingError
        A parameter differs.
    """
    for name in FIXED:
        have, want = getattr(landed, name), getattr(requested, name)
        if have != want:
            parameter = f"{name}={have}"
            raise LandingError(
                f"The landing zone s3://{settings.s3_historic_bucket} holds a shop generated with {parameter}, not "
                f"{want or repr(want)}: go on with {parameter}, or choose another data folder (DATA=folder), or "
                "`make clean`."
            )


def check_only_generated(foreign: Sequence[str]) -> None:
    """Check that the landing zone holds only generated data; other data would be mixed with it, or lost.

    Raises
    ------
    LandingError
        There are other data.
    """
    if foreign:
        raise LandingError(
            f"The landing zone holds data that was not generated here, such as {foreign[0]}: use it with "
            "`make pipeline GENERATE=0`, or choose another data folder (DATA=folder) to generate a shop."
        )


def check_not_earlier(landed: Manifest, as_of: date) -> None:
    """Check that an as-of date is not earlier than the landed data.

    Raises
    ------
    LandingError
        It is earlier.
    """
    if landed.last_as_of and as_of < landed.last_as_of:
        raise LandingError(
            f"The landing zone has been filled up to {landed.last_as_of}, and {as_of} is earlier: choose "
            f"{landed.last_as_of} or a later as-of date, or another data folder (DATA=folder)."
        )
    if as_of < landed.first_as_of:
        raise LandingError(
            f"The latest days of {as_of} lie within the history, which ends 30 days before {landed.first_as_of}: "
            f"choose {landed.first_as_of} or a later as-of date, or another data folder (DATA=folder)."
        )
