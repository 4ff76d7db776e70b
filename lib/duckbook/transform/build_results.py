"""What a build of dbt made and found, as plain records and as the tables that the notebooks show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = {"pass": "passed", "warn": "warned"}
"""dbt's word for a test's status → ours; any other one failed."""


@dataclass(frozen=True)
class Model:
    """A model or seed that was built; `rows` counts the relation after the build."""

    name: str
    schema: str
    kind: str
    rows: int
    grain: tuple[str, ...]
    description: str
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Test:
    """A test that ran; `kind` is data or unit, `status` is dbt's: pass, warn, fail, error or skipped."""

    __test__ = False  # not a test of pytest's

    name: str
    model: str
    kind: str
    status: str
    failures: int
    description: str
    columns: str = ""
    """Which columns a test of many found wanting, with the number of values: ``customer_id (3), status (1)``."""

    @property
    def verdict(self) -> str:
        """passed, warned or failed."""
        return VERDICTS.get(self.status, "failed")


@dataclass(frozen=True)
class Build:
    """What a build made and tested, each in the order of the names."""

    layer: str
    models: tuple[Model, ...]
    tests: tuple[Test, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the models read and the build did not make."""
        made = {model.name for model in self.models}
        return tuple(sorted({source for model in self.models for source in model.reads} - made))

    @property
    def verdicts(self) -> dict[str, int]:
        """Number of tests passed, failed and warned."""
        counts = dict.fromkeys(("passed", "failed", "warned"), 0)
        for test in self.tests:
            counts[test.verdict] += 1
        return counts

    def table(self, *columns: str) -> pd.DataFrame:
        """The models, one a row, with `columns` of model, schema, kind, rows, grain, reads, description."""
        import pandas as pd

        lists = {
            model.name: {"grain": ", ".join(model.grain), "reads": ", ".join(model.reads)} for model in self.models
        }
        rows = [vars(model) | {"model": model.name} | lists[model.name] for model in self.models]
        return pd.DataFrame(rows, columns=list(columns))

    def tests_by_status(self) -> pd.DataFrame:
        """How many tests of each kind passed, warned and failed."""
        import pandas as pd

        rows = [{"kind": test.kind, "verdict": test.verdict} for test in self.tests]
        counts = pd.DataFrame(rows, columns=["kind", "verdict"]).groupby(["kind", "verdict"]).size()
        return counts.unstack(fill_value=0).reindex(columns=["passed", "warned", "failed"], fill_value=0).reset_index()

    def findings(self) -> pd.DataFrame:
        """The tests that did not pass, with how much they found, and the columns where a test checks many.

        A test of keys and values finds each unknown value once, however many rows hold it.
        """
        import pandas as pd

        rows = [
            {
                "test": test.name,
                "model": test.model,
                "verdict": test.verdict,
                "findings": test.failures,
                "in": test.columns,
            }
            for test in self.tests
            if test.verdict != "passed"
        ]
        return pd.DataFrame(rows, columns=["test", "model", "verdict", "findings", "in"])

    def test_records(self) -> list[dict]:
        """The tests as the run's archive keeps them: test, model, kind, status, failures."""
        return [
            {"test": t.name, "model": t.model, "kind": t.kind, "status": t.verdict, "failures": t.failures}
            for t in self.tests
        ]
