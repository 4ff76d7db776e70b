"""The options of a run, and how its record keeps them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from duckbook.settings import Settings

GENERATED = ("customers", "seed", "dirt", "planted")
"""Settings of the generator that are parameters of a run."""


@dataclass(frozen=True)
class Request:
    """The options of a run.

    Parameters
    ----------
    as_of
        Last day of the data; None for the newest landed.
    next_day
        Use the day after the newest landed instead.
    values
        Parameters of the run that were given, by name.
    extra
        Parameters for all notebooks that have them.
    first, last, only, generate, leave_out
        Which steps to run, see `chain.select`.
    purpose
        The command that needs the steps, such as rebuild; empty for commands that run steps.
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
        """The request of a recorded run, with values resolved since, such as the as-of date of "one more day"."""
        request = record["request"] | {"as_of": date.fromisoformat(record["as_of"]) if record["as_of"] else None}
        generated = any(step["name"].startswith("generate_") for step in record["steps"])
        parameters = record["parameters"]
        resolved = {name: parameters[name] for name in GENERATED if generated and name in parameters}
        return cls(**request | {"leave_out": tuple(request["leave_out"]), "values": request["values"] | resolved})

    @property
    def as_record(self) -> dict[str, Any]:
        """The request as ``run.json`` keeps it, so that the run can be resumed."""
        as_of = self.as_of.isoformat() if self.as_of else None
        return asdict(self) | {"as_of": as_of, "leave_out": list(self.leave_out)}

    @property
    def kind(self) -> str:
        """Kind of the run, for lists of runs."""
        return self.purpose or ("latest" if self.next_day else self.only or "pipeline")

    @property
    def given(self) -> dict[str, Any]:
        """Parameters of the run that were given."""
        return self.values | ({"as_of": self.as_of.isoformat()} if self.as_of else {})

    def parameters(self, settings: Settings, generates: bool) -> dict[str, Any]:
        """All parameters known before the run begins; those of the generator only if it generates."""
        chosen = {name: getattr(settings, name) for name in GENERATED}
        generated = chosen | {"first_as_of": settings.first_as_of.isoformat()} if generates else {}
        return generated | {"generate": generates} | self.given | self.extra
