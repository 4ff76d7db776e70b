"""What a person asks of a run of the chain, and how a run's record keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from duckbook.settings import Settings

GENERATED = ("customers", "seed", "dirt", "planted")
"""Settings that say what is generated, and are parameters of a run."""


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Parameters
    ----------
    as_of
        Last day of data; None: the newest landed.
    next_day
        Take the day after the newest landed instead.
    values
        Parameters of the run that were given, by name.
    extra
        Parameters for whichever notebooks have them.
    first, last, only, generate, leave_out
        Which steps, see `chain.select`.
    purpose
        The command that runs them for a purpose of its own, such as rebuild; empty for those that run steps.
    """

    as_of: date | None = None
    next_day: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    only: str | None = None
    generate: bool = True
    leave_out: tuple[str, ...] = ()
    purpose: str = ""

    @classmethod
    def of_run(cls, record: dict[str, Any]) -> Request:
        """The request of a run; what was resolved since is kept, such as the as-of date of "one more day"."""
        asked = record["request"] | {"as_of": date.fromisoformat(record["as_of"]) if record["as_of"] else None}
        generated = any(step["name"].startswith("generate_") for step in record["steps"])
        settled = {name: record["parameters"][name] for name in GENERATED if generated and name in record["parameters"]}
        return cls(**asked | {"leave_out": tuple(asked["leave_out"]), "values": asked["values"] | settled})

    @property
    def as_record(self) -> dict[str, Any]:
        """The request as ``run.json`` holds it, so that the run can be resumed as it was asked for."""
        as_of = self.as_of.isoformat() if self.as_of else None
        return asdict(self) | {"as_of": as_of, "leave_out": list(self.leave_out)}

    @property
    def kind(self) -> str:
        """What kind of run it is, for those who look for it later."""
        return self.purpose or ("latest" if self.next_day else self.only or "pipeline")

    @property
    def given(self) -> dict[str, Any]:
        """The parameters of the run that were asked for."""
        return self.values | ({"as_of": self.as_of.isoformat()} if self.as_of else {})

    def parameters(self, settings: Settings, generates: bool) -> dict[str, Any]:
        """All parameters of a run, as far as they are known before it begins.

        Of a run that generates nothing, what the settings would generate says nothing.
        """
        chosen = {name: getattr(settings, name) for name in GENERATED}
        generated = chosen | {"first_as_of": settings.first_as_of.isoformat()} if generates else {}
        return generated | {"generate": generates} | self.given | self.extra
