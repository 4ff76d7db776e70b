"""How long the chain takes, against plain papermill over the same notebooks."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path

from duckbook.chain import read_chain
from measuring import BIN, DUCKBOOK, Figures, Timing, fresh_store, timed

REFERENCE = "plain papermill, once a notebook"


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of the chain from nothing, once more, and one more day, at one size."""
    taken: dict[str, list[Timing]] = defaultdict(list)
    for _ in range(runs):
        with fresh_store(customers=customers) as environment:
            taken[REFERENCE].append(plain_papermill(environment))
        with fresh_store(customers=customers) as environment:
            taken["the chain, from nothing"].append(timed([[DUCKBOOK, "run"]], environment))
            taken["the chain again, nothing new"].append(timed([[DUCKBOOK, "run"]], environment))
            taken["one more day"].append(timed([[DUCKBOOK, "latest"]], environment))
    reference = (REFERENCE, statistics.median(timing.seconds for timing in taken[REFERENCE]))
    for name, timings in taken.items():
        figures.add(name, f"{customers:,} customers", timings, reference)


def plain_papermill(environment: dict[str, str]) -> Timing:
    """Run every notebook of the chain by a papermill of its own, as one would without the chain."""
    executed = Path(environment["DUCKBOOK_RUNS"])
    executed.mkdir(parents=True)
    commands = [
        [str(BIN / "papermill"), "--no-progress-bar", "--cwd", str(path.parent), str(path), str(executed / path.name)]
        for path in (step.notebook for step in read_chain() if not step.on_request)
    ]
    return timed(commands, environment)
