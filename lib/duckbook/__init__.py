"""duckbook: the helper library of the workbook's notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date

    from duckbook.analysis.datasets import Kind
    from duckbook.settings import Settings

__all__ = ["load"]


def load(
    name: str = "features",
    as_of: date | str | None = None,
    *,
    as_: Kind = "pandas",
    labels: bool | None = None,
    settings: Settings | None = None,
) -> Any:
    """Load the customer features or a published mart; see `duckbook.analysis.datasets.load`."""
    # Imported here, because every command imports this package and few load data.
    from duckbook.analysis.datasets import load

    return load(name, as_of, as_=as_, labels=labels, settings=settings)
