"""The present moment, as records of runs, locks and publications write it."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """The present moment as the archive writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
