"""The pages beside the feature table: its data dictionary, and a datasheet whose numbers are computed from the files.

The questions are those of Gebru et al., "Datasheets for Datasets", Communications of the ACM 64 (2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from duckbook.publish.publisher import Publication


@dataclass(frozen=True)
class Dictionary:
    """The columns of the feature table.

    Attributes
    ----------
    version : int
        Raised when a column is added, dropped, renamed or computed otherwise.
    grain : str
    features, labels : lists of dict
        Each with name, type, role (id, feature or label), from (the mart), meaning, and a unit where it has one.
    """

    version: int
    grain: str
    features: list[dict[str, str]]
    labels: list[dict[str, str]]

    def names(self, role: str) -> list[str]:
        """The names of the columns with a role: ``id``, ``feature`` or ``label``."""
        return [column["name"] for column in self.features + self.labels if column["role"] == role]


def dictionary_page(dictionary: Dictionary) -> str:
    """The dictionary as a Markdown page, one row per column."""
    rows = [
        f"| {c['name']} | {c['type']} | {c.get('unit', '')} | {c['role']} | {c['from']} | {c['meaning']} |"
        for c in dictionary.features + dictionary.labels
    ]
    head = "| column | type | unit | role | from | meaning |\n| --- | --- | --- | --- | --- | --- |"
    return (
        f"# Data dictionary of the customer features, version {dictionary.version}\n\n"
        f"Grain: {dictionary.grain}. Labels stand in `labels.parquet`, everything else in `features.parquet`; "
        f"they join on `customer_key`.\n\n{head}\n" + "\n".join(rows) + "\n"
    )


def datasheet_page(folder: Path, dictionary: Dictionary, day: date, publication: Publication) -> str:
    """The datasheet of the files in a folder as a Markdown page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("duckbook.analysis"), undefined=StrictUndefined, trim_blocks=True)
    return (
        pages.get_template("datasheet.md.j2").render(
            dictionary=dictionary,
            day=day,
            publication=publication,
            marts=sorted({column["from"] for column in dictionary.features + dictionary.labels} - {""}),
            **_measured(folder, dictionary),
        )
        + "\n"
    )


def _measured(folder: Path, dictionary: Dictionary) -> dict:
    """What the datasheet says of the rows: their number, what is missing, and how the labels are spread."""
    import duckdb

    with duckdb.connect() as connection:
        table = connection.read_parquet(str(folder / "features.parquet"))
        names = dictionary.names("feature")
        counted = ", ".join(["count(*)", "count(*) filter (where orders > 0)", *(f"count({name})" for name in names)])
        rows, buyers, *present = table.aggregate(counted).fetchone()
        missing = {n: (rows - k) / rows for n, k in zip(names, present, strict=True) if k < rows}
        labels = None
        if (folder / "labels.parquet").exists():
            later = connection.read_parquet(str(folder / "labels.parquet"))
            labels = later.aggregate("avg((label_orders_90d > 0)::integer), sum(label_revenue_90d)").fetchone()
    return {"rows": rows, "buyers": buyers, "missing": missing, "labels": labels}
