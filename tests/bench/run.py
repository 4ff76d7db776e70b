"""`make bench`: how quick generation, ingestion, dbt, BI, the chain, its steps and the lake are, against references.

Every figure is the median of whole processes in data folders made for it, so that servers start cold and imports are
counted. A figure and its reference run in turn: on a machine whose speed drifts both are slowed, so the ratios can be
trusted, and the seconds are of one machine. `make bench BENCH="chain --customers 1000 --runs 1"` measures less.

The figures go into the data folder, as JSON and as a chart, and are held against the committed ones by their ratios;
`BENCH="--as-baseline"` makes them the committed ones.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path

import bi_copy
import chain_time
import comparing
import generation
import increments
import ingestion
import lake_time
import scale
import tutorial
from duckbook.settings import settings
from measuring import Figures
from rich.console import Console
from rich.table import Table

PARTS = {
    "generation": (generation.measure, [100_000]),
    "ingestion": (ingestion.measure, [16_000]),
    "increments": (increments.measure, [100_000]),
    "bi": (bi_copy.measure, [50_000]),
    "chain": (chain_time.measure, [1_000, 10_000]),
    "scale": (scale.measure, [10_000, 100_000]),
    "lake": (lake_time.measure, [1_000]),
    "tutorial": (tutorial.measure, [1_000]),
}
"""What is measured, and at how many customers; the last, whose number is fixed, only where a clone of it is named."""


def main() -> None:
    """Measure what is asked for, show the table, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="what to measure (all)")
    parser.add_argument("--customers", type=int, nargs="+", help="sizes, instead of each part's own")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure; the median is shown")
    parser.add_argument("--tutorial", type=Path, help="folder of a clone of the tutorial project (tutorial.py)")
    parser.add_argument("--out", type=Path, help="folder for the figures and their chart (bench, in the data folder)")
    parser.add_argument(
        "--as-baseline", action="store_true", help="commit the figures: later ones are held against them"
    )
    options = parser.parse_args()
    if "tutorial" in options.parts and not options.tutorial:
        parser.error("the tutorial is measured where --tutorial names a clone of it: see tests/bench/tutorial.py")
    wanted = options.parts or [part for part in PARTS if part != "tutorial" or options.tutorial]
    out = options.out or settings().data / "bench"
    out.mkdir(parents=True, exist_ok=True)
    figures = Figures()
    for part in wanted:
        measure, sizes = PARTS[part]
        if part == "tutorial":
            measure = partial(measure, checkout=options.tutorial.resolve())
        for customers in sizes if part == "tutorial" else options.customers or sizes:
            measure(figures, customers, options.runs)
            # After each: what an hour has measured is kept when the next one fails.
            (out / "figures.json").write_text(json.dumps(figures.rows, indent=1) + "\n", encoding="utf-8")
    show(figures.rows)
    comparing.draw(figures.rows, out / "figures.svg")
    print(f"Figures and their chart: {out}")
    if options.as_baseline:
        comparing.commit(figures.rows)


def show(rows: list[dict]) -> None:
    """Print the figures as a table, with how they grow and what became of the committed ratios."""
    table = Table(title="Whole processes, median; ratio to a reference of the same run; growth as a power of the size")
    for heading in ("figure", "size", "seconds", "rows/s", "ratio", "baseline", "reference", "growth", "peak MB"):
        table.add_column(heading, justify="left" if heading in {"figure", "size", "reference"} else "right")
    grown, before = comparing.exponents(rows), comparing.baseline()
    for row in rows:
        committed = before.get((row["name"], row["size"]))
        is_slower = committed and row["ratio"] and row["ratio"] > committed * comparing.SLOWER
        table.add_row(
            row["name"],
            row["size"],
            f"{row['seconds']:,.1f}",
            f"{row['rows_per_second']:,}" if row["rows_per_second"] else "",
            f"{row['ratio']:g}" if row["ratio"] else "",
            f"{committed:g}" if committed else "",
            row["reference"] or "",
            f"{grown[row['name']]:.2f}" if row["name"] in grown else "",
            f"{row['peak_mb']:,}",
            style="red" if is_slower else None,
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
