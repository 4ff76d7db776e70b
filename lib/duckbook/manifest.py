"""The manifest: what the landing zone says about itself, in one object beside the data.

It fixes seed, size and dates of a store that has been generated, and says which landings are complete, so that a
killed one is done again and a finished one is left alone. Nothing here generates anything.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path

from duckbook import storage
from duckbook.endpoints import Endpoints, S3Endpoint
from duckbook.errors import LandingError
from duckbook.processes import write_private
from duckbook.settings import Settings

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
