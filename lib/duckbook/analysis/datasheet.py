"""Pages next to the feature table: a data dictionary, and a datasheet whose numbers are computed from the files.

The questions are those of Gebru et al., "Datasheets for Datasets", Communications of the ACM 64 (2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from duckbook.publish.publication import Publication


@dataclass(frozen=True)
class Dictionary:
    """The columns of the feature table.

    Attributes
    ----------
    version : int
        Increases when a column is added, dropped, renamed or computed differently.
    grain : str
    features, labels : lists of dict
        Each has name, type, role (id, feature or label), from (the mart), meaning, and a unit if there is one.
    """

    version: int
    grain: str
    features: list[dict[str, str]]
    labels: list[dict[str, str]]

    def names(self, role: str) -> list[str]:
        """Names of the columns with a role: ``id``, ``feature`` or ``label``."""
        return [column["name"] for column in self.features + self.labels if column["role"] == role]


def dictionary_page(dictionary: Dictionary) -> str:
    """Render the dictionary as a Markdown page, one row per column."""
    rows = [
        f"| {c['name']} | {c['type']} | {c.get('unit', '')} | {c['role']} | {c['from']} | {c['meaning']} |"
        for c in dictionary.features + dictionary.labels
    ]
    head = "| column | type | unit | role | from | meaning |\n| --- | --- | --- | --- | --- | --- |"
    return (
        f"# Data dictionary of the customer features, version {dictionary.version}\n\n"
        f"Grain: {dictionary.grain}. Labels are in `labels.parquet`, all other columns in `features.parquet`; "
        f"join them on `customer_key`.\n\n{head}\n" + "\n".join(rows) + "\n"
    )


def datasheet_page(folder: Path, dictionary: Dictionary, day: date, publication: Publication) -> str:
    """Render the datasheet of the files in a folder as a Markdown page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("duckbook.analysis"), undefined=StrictUndefined, trim_blocks=True)
    return (
        pages.get_template("datasheet.md.j2").render(
            dictionary=dictionary,
            day=day,
            publication=publication,
            marts=sorted({column["from"] for column in dictionary.features + dictionary.labels} - {""}),
            **_measure(folder, dictionary),
        )
        + "\n"
    )


def _measure(folder: Path, dictionary: Dictionary) -> dict:
    """Row counts, shares of missing values, and label averages of the files."""
    import duckdb

    with duckdb.connect() as connection:
        table = connection.read_parquet(str(folder / "features.parquet"))
        names = dictionary.names("feature")
        counts = ", ".join(["count(*)", "count(*) filter (where orders > 0)", *(f"count({name})" for name in names)])
        [(rows, buyers, *present)] = table.aggregate(counts).fetchall()
        missing = {n: (rows - k) / rows for n, k in zip(names, present, strict=True) if k < rows}
        labels = None
        if (folder / "labels.parquet").exists():
            label_table = connection.read_parquet(str(folder / "labels.parquet"))
            labels = label_table.aggregate("avg((label_orders_90d > 0)::integer), sum(label_revenue_90d)").fetchone()
    return {"rows": rows, "buyers": buyers, "missing": missing, "labels": labels}
