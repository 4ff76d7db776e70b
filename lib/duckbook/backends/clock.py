"""The current time in the format of run records, locks and publications."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """Return the current time, in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
