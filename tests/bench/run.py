"""`make bench`: how quick generation, ingestion, a day of dbt, the chain and the lake are, each against a reference.

Every figure is the median of whole processes in stores made for it, so that servers start cold and imports are
counted. A figure and its reference run in turn: on a machine whose speed drifts both are slowed, so the ratios can be
trusted, and the seconds are of one machine. `make bench BENCH="chain --customers 1000 --runs 1"` measures less.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import chain_time
import generation
import increments
import ingestion
import lake_time
from measuring import Figures
from rich.console import Console
from rich.table import Table

PARTS = {
    "generation": (generation.measure, [100_000]),
    "ingestion": (ingestion.measure, [16_000]),
    "increments": (increments.measure, [100_000]),
    "chain": (chain_time.measure, [1_000, 10_000]),
    "lake": (lake_time.measure, [1_000]),
}
"""What is measured, and at how many customers."""


def main() -> None:
    """Measure what is asked for, show the table, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="what to measure (all)")
    parser.add_argument("--customers", type=int, nargs="+", help="sizes, instead of each part's own")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure; the median is shown")
    parser.add_argument("--json", type=Path, help="file to write the figures to as well")
    options = parser.parse_args()
    figures = Figures()
    for part in options.parts or PARTS:
        measure, sizes = PARTS[part]
        for customers in options.customers or sizes:
            measure(figures, customers, options.runs)
            if options.json:
                options.json.write_text(json.dumps(figures.rows, indent=1) + "\n", encoding="utf-8")
    show(figures.rows)


def show(rows: list[dict]) -> None:
    """Print the figures as a table."""
    table = Table(title="Whole processes, median; ratio to a reference of the same run")
    for heading in ("figure", "size", "seconds", "rows/s", "ratio", "reference", "peak MB"):
        table.add_column(heading, justify="left" if heading in {"figure", "size", "reference"} else "right")
    for row in rows:
        table.add_row(
            row["name"],
            row["size"],
            f"{row['seconds']:,.1f}",
            f"{row['rows_per_second']:,}" if row["rows_per_second"] else "",
            f"{row['ratio']:g}" if row["ratio"] else "",
            row["reference"] or "",
            f"{row['peak_mb']:,}",
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
