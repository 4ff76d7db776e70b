"""`make bench`: how long the chain takes, against plain papermill over the same notebooks.

Every figure is of whole processes in a data folder made for it, so servers start cold and imports are counted. The
chain and its reference run in turn, so that a machine whose speed drifts slows both: the ratios are what can be
trusted, the seconds are of one machine. `make bench BENCH="--customers 10000 --runs 1"` measures less.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from duckbook.settings import ROOT
from rich.console import Console
from rich.table import Table

BIN = Path(sys.executable).parent
DUCKBOOK = str(BIN / "duckbook")
REFERENCE = "plain papermill, once a notebook"


@dataclass(frozen=True)
class Timing:
    """One run of a command: wall seconds, and the peak memory of its largest process in MB."""

    seconds: float
    peak_mb: float


def main() -> None:
    """Measure at each size, show the table, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure; the median is shown")
    parser.add_argument("--json", type=Path, help="file to write the figures to as well")
    options = parser.parse_args()
    figures = [figure for size in options.customers for figure in measure(size, options.runs)]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    show(figures)


def measure(customers: int, runs: int) -> list[dict]:
    """Time the chain from nothing, once more, and one more day, and plain papermill, at one size.

    Returns
    -------
    list of dict
        A row a figure: name, customers, median seconds, ratio to plain papermill, peak memory in MB.
    """
    taken: dict[str, list[Timing]] = defaultdict(list)
    for _ in range(runs):
        with fresh_store(customers) as environment:
            taken[REFERENCE].append(plain_papermill(environment))
        with fresh_store(customers) as environment:
            taken["the chain, from nothing"].append(timed([[DUCKBOOK, "run"]], environment))
            taken["the chain again, nothing new"].append(timed([[DUCKBOOK, "run"]], environment))
            taken["one more day"].append(timed([[DUCKBOOK, "latest"]], environment))
    reference = statistics.median(timing.seconds for timing in taken[REFERENCE])
    return [
        {
            "name": name,
            "customers": customers,
            "seconds": round(seconds := statistics.median(timing.seconds for timing in timings), 1),
            "ratio": round(seconds / reference, 2),
            "peak_mb": round(max(timing.peak_mb for timing in timings)),
        }
        for name, timings in taken.items()
    ]


@contextlib.contextmanager
def fresh_store(customers: int) -> Iterator[dict[str, str]]:
    """Yield the environment of a store that holds nothing yet; its servers are stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix="duckbook-bench-") as folder:
        environment = os.environ | {
            "DUCKBOOK_DATA": f"{folder}/data",
            "DUCKBOOK_RUNS": f"{folder}/runs",
            "DUCKBOOK_CUSTOMERS": str(customers),
        }
        try:
            yield environment
        finally:
            subprocess.run([DUCKBOOK, "down"], env=environment, check=False, capture_output=True)


def plain_papermill(environment: dict[str, str]) -> Timing:
    """Run every notebook by a papermill of its own, as one would without the chain."""
    notebooks = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    executed = Path(environment["DUCKBOOK_RUNS"])
    executed.mkdir(parents=True)
    commands = [
        [str(BIN / "papermill"), "--no-progress-bar", "--cwd", str(path.parent), str(path), str(executed / path.name)]
        for path in notebooks
    ]
    return timed(commands, environment)


def timed(commands: list[list[str]], environment: dict[str, str]) -> Timing:
    """Run commands one after another and time them as one; a failing one ends the benchmark."""
    began, peak = time.perf_counter(), 0.0
    for command in commands:
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=said, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
            peak = max(peak, usage.ru_maxrss / 1024)
            if os.waitstatus_to_exitcode(status):
                said.seek(0)
                sys.exit(f"{' '.join(command)} failed:\n{said.read().decode(errors='replace')[-4000:]}")
    return Timing(time.perf_counter() - began, peak)


def show(figures: list[dict]) -> None:
    """Print the figures as a table."""
    table = Table(title="Whole processes, median; ratio to plain papermill in the same run")
    for heading in ("figure", "customers", "seconds", "ratio", "peak MB"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for row in figures:
        table.add_row(
            row["name"], f"{row['customers']:,}", f"{row['seconds']:.1f}", f"{row['ratio']:.2f}", f"{row['peak_mb']:,}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
