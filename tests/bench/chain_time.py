"""How long the chain takes, against plain papermill over the same notebooks, and how much of it is the chain's own."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from duckbook.runs.chain import read_chain
from measuring import BIN, DUCKBOOK, Figures, Timing, fresh_shop, timed

REFERENCE = "plain papermill, once a notebook"


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of the chain from nothing, once more, and one more day, at one size."""
    taken: dict[str, list[Timing]] = defaultdict(list)
    for _ in range(runs):
        with fresh_shop(customers=customers) as environment:
            taken[REFERENCE].append(plain_papermill(environment))
        with fresh_shop(customers=customers) as environment:
            first = timed([[DUCKBOOK, "run"]], environment)
            taken["the chain, from nothing"].append(first)
            own = first.seconds - longest_path(Path(environment["DUCKBOOK_RUNS"]) / "latest")
            taken["of it, outside of the cells"].append(replace(first, seconds=own))
            taken["the chain again, nothing new"].append(timed([[DUCKBOOK, "run"]], environment))
            taken["one more day"].append(timed([[DUCKBOOK, "latest"]], environment))
    reference = (REFERENCE, statistics.median(timing.seconds for timing in taken[REFERENCE]))
    for name, timings in taken.items():
        figures.add(name, f"{customers:,} customers", timings, reference)


def longest_path(run: Path) -> float:
    """Seconds that the cells of a run took, along the steps that had to wait for each other longest."""
    ends: dict[str, float] = {}
    for step in read_chain():
        notebook = run / step.notebook.name
        if notebook.exists():
            cells = json.loads(notebook.read_text("utf-8"))["cells"]
            told = [cell["metadata"].get("papermill", {}).get("duration") or 0.0 for cell in cells]
            ends[step.name] = sum(told) + max((ends[name] for name in step.needs if name in ends), default=0.0)
    return max(ends.values())


def plain_papermill(environment: dict[str, str]) -> Timing:
    """Run every notebook of the chain by a papermill of its own, as one would without the chain."""
    executed = Path(environment["DUCKBOOK_RUNS"])
    executed.mkdir(parents=True)
    commands = [
        [str(BIN / "papermill"), "--no-progress-bar", "--cwd", str(path.parent), str(path), str(executed / path.name)]
        for path in (step.notebook for step in read_chain() if not step.on_request)
    ]
    return timed(commands, environment)
