"""What the YAML of the marts declares of them: kept by each build, read by whoever hands the marts on.

Descriptions become comments, the grain a key, references foreign keys, and what is personal is masked. It is declared
once, beside each model; dbt reads it, and this module keeps what dbt read as ``layers/marts.contracts.json`` among
dbt's artifacts.
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
"""The generic test whose ``references`` say where a key leads."""

DATES = "dim_dates"
"""The mart to which the day of a fact leads."""


@dataclass(frozen=True)
class Column:
    """A column of a mart: `required` where it is never null, `personal` where it tells who a person is."""

    name: str
    description: str
    required: bool = False
    personal: bool = False


@dataclass(frozen=True)
class Contract:
    """What is declared of a mart.

    Attributes
    ----------
    grain
        The columns that tell one row from another.
    references
        Column → the mart whose grain it names.
    """

    description: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    references: dict[str, str]

    @property
    def personal(self) -> tuple[str, ...]:
        """The columns that tell who a person is."""
        return tuple(column.name for column in self.columns if column.personal)

    @property
    def sorted_by(self) -> tuple[str, ...]:
        """The columns by whose order its rows are kept: the day of a fact, which readers ask for, and the grain.

        Empty where no grain is declared, for then the day would leave rows in any order.
        """
        days = (column for column, mart in self.references.items() if mart == DATES)
        return tuple(dict.fromkeys((*days, *self.grain))) if self.grain else ()


def of_nodes(models: Iterable[Any], tests: Iterable[Any]) -> dict[str, Contract]:
    """Contracts by name of the model, from the nodes of dbt's graph."""
    leads: dict[str, dict[str, str]] = {}
    for test in tests:
        told = getattr(test, "test_metadata", None)
        if getattr(told, "name", None) == REFERENCES and test.attached_node:
            found = leads.setdefault(test.attached_node, {})
            for reference in told.kwargs.get("references", []):
                found[reference["column"]] = re.search(r"ref\(['\"](\w+)['\"]\)", reference["to"])[1]
    return {
        node.name: Contract(
            description=" ".join(node.description.split("\n\n")[0].split()),  # a page opens with its summary
            grain=tuple(node.config.meta.get("grain", ())),
            columns=tuple(_column(column) for column in node.columns.values()),
            references=leads.get(node.unique_id, {}),
        )
        for node in models
    }


def _column(column: Any) -> Column:
    meta = (getattr(column.config, "meta", None) or {}) | (column.meta or {})
    required = any(str(getattr(rule.type, "value", rule.type)) == "not_null" for rule in column.constraints)
    return Column(column.name, " ".join(column.description.split()), required, bool(meta.get("personal")))


def write(folder: Path, layer: str, contracts: dict[str, Contract]) -> None:
    """Keep the contracts of a layer in the folder of dbt's results."""
    told = {name: asdict(contract) for name, contract in contracts.items()}
    (folder / f"{layer}.contracts.json").write_text(json.dumps(told), "utf-8")


def of_marts(settings: Settings) -> dict[str, Contract]:
    """The contracts of the newest build of the marts.

    Raises
    ------
    PublishError
        There are none.
    """
    from duckbook.transform import dbt_runner

    try:
        told = json.loads((dbt_runner.target(settings) / "layers" / "marts.contracts.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise PublishError("Nothing tells what the marts hold: run 06_marts.ipynb first, or `make pipeline`.") from None
    return {
        name: Contract(
            contract["description"],
            tuple(contract["grain"]),
            tuple(Column(**column) for column in contract["columns"]),
            contract["references"],
        )
        for name, contract in told.items()
    }
