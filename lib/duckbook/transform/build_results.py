"""Results of a dbt build, as plain records and as the tables that the notebooks show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = {"pass": "passed", "warn": "warned"}
"""dbt's status of a test → our verdict; any other status is a failure."""


@dataclass(frozen=True)
class Model:
    """A built model or seed; `rows` is the row count after the build."""

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

    __test__ = False  # pytest must not collect it

    name: str
    model: str
    kind: str
    status: str
    failures: int
    description: str
    columns: str = ""
    """Failing columns of a multi-column test, with the number of values: ``customer_id (3), status (1)``."""

    @property
    def verdict(self) -> str:
        """passed, warned or failed."""
        return VERDICTS.get(self.status, "failed")


@dataclass(frozen=True)
class Build:
    """The models and tests of a build, each sorted by name."""

    layer: str
    models: tuple[Model, ...]
    tests: tuple[Test, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the relations that the models read and the build did not make."""
        made = {model.name for model in self.models}
        return tuple(sorted({source for model in self.models for source in model.reads} - made))

    @property
    def verdicts(self) -> dict[str, int]:
        """Number of tests per verdict."""
        counts = dict.fromkeys(("passed", "failed", "warned"), 0)
        for test in self.tests:
            counts[test.verdict] += 1
        return counts

    def table(self, *columns: str) -> pd.DataFrame:
        """One row per model; `columns` are among model, schema, kind, rows, grain, reads, description."""
        import pandas as pd

        lists = {
            model.name: {"grain": ", ".join(model.grain), "reads": ", ".join(model.reads)} for model in self.models
        }
        rows = [vars(model) | {"model": model.name} | lists[model.name] for model in self.models]
        return pd.DataFrame(rows, columns=list(columns))

    def tests_by_status(self) -> pd.DataFrame:
        """Count the tests by kind and verdict."""
        import pandas as pd

        rows = [{"kind": test.kind, "verdict": test.verdict} for test in self.tests]
        counts = pd.DataFrame(rows, columns=["kind", "verdict"]).groupby(["kind", "verdict"]).size()
        return counts.unstack(fill_value=0).reindex(columns=["passed", "warned", "failed"], fill_value=0).reset_index()

    def findings(self) -> pd.DataFrame:
        """Tests that did not pass, with the number of failures and, for a multi-column test, the columns.

        A test of keys and values counts each unknown value once, not once per row.
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
        """Records of the tests for the run archive: test, model, kind, status, failures."""
        return [
            {"test": t.name, "model": t.model, "kind": t.kind, "status": t.verdict, "failures": t.failures}
            for t in self.tests
        ]
