"""Contracts of the marts, as declared in the YAML next to each model.

Publication turns descriptions into comments, the grain into a key and references into foreign keys, and masks personal
columns. Each build saves what dbt read from the YAML as ``layers/marts.contracts.json`` among dbt's artifacts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from duckbook.errors import PublishError
from duckbook.settings import Settings

REFERENCES = "keys_and_values_are_known"
"""The generic test whose ``references`` name the dimension of each key."""

DATES = "dim_dates"
"""The dimension that the day of a fact refers to."""


@dataclass(frozen=True)
class Column:
    """A column of a mart: `required` if it is never null, `personal` if it identifies a person."""

    name: str
    description: str
    required: bool = False
    personal: bool = False


@dataclass(frozen=True)
class Contract:
    """The declared contract of a mart.

    Attributes
    ----------
    grain
        The columns that identify a row.
    references
        Column → the mart that it refers to.
    """

    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    references: dict[str, str]

    @property
    def personal(self) -> tuple[str, ...]:
        """The columns that identify a person."""
        return tuple(column.name for column in self.columns if column.personal)

    @property
    def sorted_by(self) -> tuple[str, ...]:
        """The sort order of a published file: the day of a fact, which readers filter by, then the grain.

        Empty without a grain, because the day alone does not fix the order of the rows.
        """
        days = (column for column, mart in self.references.items() if mart == DATES)
        return tuple(dict.fromkeys((*days, *self.grain))) if self.grain else ()


def from_dbt_nodes(models: Iterable[Any], tests: Iterable[Any]) -> dict[str, Contract]:
    """Build the contract of each model, by name, from the nodes of dbt's graph."""
    references: dict[str, dict[str, str]] = {}
    for test in tests:
        metadata: Any = getattr(test, "test_metadata", None)
        if getattr(metadata, "name", None) == REFERENCES and test.attached_node:
            marts = references.setdefault(test.attached_node, {})
            for reference in metadata.kwargs.get("references", []):
                marts[reference["column"]] = re.findall(r"ref\(['\"](\w+)['\"]\)", reference["to"])[0]
    return {
        node.name: Contract(
            description=" ".join(node.description.split("\n\n")[0].split()),  # the first paragraph is the summary
            grain=tuple(node.config.meta.get("grain", ())),
            columns=tuple(_column(column) for column in node.columns.values()),
            references=references.get(node.unique_id, {}),
        )
        for node in models
    }


def _column(column: Any) -> Column:
    meta = (getattr(column.config, "meta", None) or {}) | (column.meta or {})
    required = any(str(getattr(rule.type, "value", rule.type)) == "not_null" for rule in column.constraints)
    return Column(column.name, " ".join(column.description.split()), required, bool(meta.get("personal")))


def save(folder: Path, layer: str, contracts: dict[str, Contract]) -> None:
    """Save the contracts of a layer in the folder of dbt's results."""
    content = {name: asdict(contract) for name, contract in contracts.items()}
    (folder / f"{layer}.contracts.json").write_text(json.dumps(content), "utf-8")


def load_marts(settings: Settings) -> dict[str, Contract]:
    """Load the contracts of the newest build of the marts.

    Raises
    ------
    PublishError
        The marts were never built.
    """
    from duckbook.transform import dbt_runner

    try:
        content = json.loads((dbt_runner.target(settings) / "layers" / "marts.contracts.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise PublishError(
            "The marts have no contracts yet: run notebooks/pipeline/06_marts.ipynb first, or `make pipeline`."
        ) from None
    return {
        name: Contract(
            contract["description"],
            tuple(contract["grain"]),
            tuple(Column(**column) for column in contract["columns"]),
            contract["references"],
        )
        for name, contract in content.items()
    }
