"""How long dbt takes to build one more day, against a full refresh of the same warehouse."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter

from measuring import DUCKBOOK, Figures, Timing, fresh_shop, timed

FULL = "a full refresh"


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of a day's build, models and tests, in a shop of this many customers."""
    with fresh_shop(customers=customers) as environment:
        timed([[DUCKBOOK, "run", "--until", "ingest"]], environment)
        _work("build", environment)
        one_more = ["--as-of", str(_next_day()), "--from", "generate_latest", "--until", "ingest"]
        timed([[DUCKBOOK, "run", *one_more]], environment)
        built = Path(environment["DUCKBOOK_DATA"]) / "warehouse.duckdb"
        before = shutil.copyfile(built, built.with_suffix(".before"))
        taken: dict[str, list[Timing]] = {FULL: [], "one more day by increments": []}
        for _ in range(runs):
            for name, what in zip(taken, ("build_anew", "build"), strict=True):
                shutil.copyfile(before, built)
                taken[name].append(_work(what, environment))
    size = f"{customers:,} customers"
    figures.add(FULL, size, taken.pop(FULL))
    reference = (FULL, figures.rows[-1]["seconds"])
    for name, timings in taken.items():
        figures.add(name, size, timings, reference)


def _next_day() -> date:
    from duckbook.settings import Settings

    return Settings(_env_file=None).first_as_of + timedelta(1)


def _work(what: str, environment: dict[str, str]) -> Timing:
    done = timed([[sys.executable, __file__, what]], environment)
    return Timing(json.loads(done.printed.splitlines()[-1]), done.peak_mb, "")


def main() -> None:
    """Build the warehouse of the environment's data folder; print the seconds, without imports and parsing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["build", "build_anew"])
    asked = parser.parse_args().what

    from duckbook.settings import settings
    from duckbook.transform import dbt_layers, dbt_runner

    seconds = 0.0
    for layer in dbt_layers.SELECTION:
        # As the chain's notebooks do, whose kernels have the project parsed before they begin.
        dbt_runner.prepare(settings())
        began = perf_counter()
        dbt_layers.build(settings(), layer, full_refresh=asked == "build_anew")
        seconds += perf_counter() - began
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
