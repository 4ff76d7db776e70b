"""How long the chain takes on the shared lake, against the same chain on a DuckDB file, and what a question costs."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict

from measuring import DUCKBOOK, Figures, Timing, fresh_shop, timed

ASK = (
    "from duckbook.publish import publisher; from duckbook.settings import settings; "
    "r = publish.published(settings()); r.connection.execute('select sum(revenue) from ecom_marts.fct_order_details')"
)
"""A reader: a process that opens what is published and asks one question."""


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of the chain, one more day, and one question, on both targets in turn."""
    taken: dict[str, dict[str, list[Timing]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(runs):
        for target in ("duckdb", "lake"):
            with fresh_shop(customers=customers, target=target) as environment:
                taken["the chain"][target].append(timed([[DUCKBOOK, "run"]], environment))
                taken["one more day"][target].append(timed([[DUCKBOOK, "latest"]], environment))
                taken["one question to a mart"][target].append(timed([[sys.executable, "-c", ASK]], environment))
    for what, timings in taken.items():
        reference = f"{what} on a DuckDB file"
        figures.add(reference, f"{customers:,} customers", timings["duckdb"])
        seconds = statistics.median(timing.seconds for timing in timings["duckdb"])
        figures.add(f"{what} on the lake", f"{customers:,} customers", timings["lake"], (reference, seconds))
