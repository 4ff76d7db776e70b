"""How each step of the chain grows with the shop, and how far it is from its bare limit.

A limit is the work that a step cannot do without, done by nothing but the engine that does it: the shop made in memory
for what lands it; DuckDB reading the landing zone into tables and Parquet for what ingests it; the SQL of a layer's
models and tests, typed into DuckDB, for what dbt builds; a copy of the marts to Parquet for what publishes them.
Each is measured in the data folder of the same run. `BENCH="scale --customers 10000 1000000 --runs 1"` takes half
an hour.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from time import perf_counter

from measuring import DUCKBOOK, LAYERS, Figures, Timing, fresh_shop, steps_of_newest_run, timed

HERE = Path(__file__).parent
WHOLE, DAY = "the whole chain, step by step", "one more day on top"


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of every step at one size, with its bare limit where it has one, and of one more day."""
    taken: dict[str, list[Timing]] = defaultdict(list)
    limits: dict[str, list[float]] = defaultdict(list)
    for _ in range(runs):
        # Rows that are broken on purpose stop DuckDB's own reader.
        with fresh_shop(customers=customers, dirt=0) as environment:
            taken[WHOLE].append(timed([[DUCKBOOK, "run"]], environment))
            for name, timing in steps_of_newest_run(environment).items():
                taken[name].append(timing)
            made = timed([[sys.executable, str(HERE / "generation.py"), "memory", str(customers)]], environment)
            limits["generate_history"].append(made.seconds)
            limits["ingest"].append(_told([str(HERE / "ingestion.py"), "--work", "limit"], environment)["seconds"])
            for name in (*LAYERS, "publish"):
                limits[name].append(_told([__file__, name], environment)["seconds"])
            taken[DAY].append(timed([[DUCKBOOK, "latest"]], environment))
    size = f"{customers:,} customers"
    for name, timings in taken.items():
        reference = ("its bare limit", median(limits[name])) if name in limits else None
        figures.add(name if name in (WHOLE, DAY) else f"step {name}", size, timings, reference)


def _told(arguments: list[str], environment: dict[str, str]) -> dict:
    return json.loads(timed([[sys.executable, *arguments]], environment).printed.splitlines()[-1])


def bare_build(settings, layer: str) -> float:
    """Seconds that the SQL of a layer's models and tests takes in DuckDB alone, in a copy of the warehouse."""
    import duckdb
    from duckbook.backends import warehouse

    dbt = settings.data / "dbt"
    results = json.loads((dbt / "layers" / f"{layer}.json").read_text("utf-8"))["results"]
    config = warehouse.engine_config(settings) | warehouse.FILE_CONFIG
    with tempfile.TemporaryDirectory(dir=settings.data) as folder:
        copy = shutil.copyfile(settings.warehouse_path, Path(folder) / settings.warehouse_path.name)
        with duckdb.connect(str(copy), config=config) as connection:
            connection.execute("set timezone = 'UTC'")
            kinds = dict(connection.execute("select table_name, table_type from information_schema.tables").fetchall())
            began = perf_counter()
            for result in results:
                kind, name, sql = result["unique_id"].split(".")[0], result["relation_name"], result["compiled_code"]
                if kind == "model" and name and sql:
                    what = "view" if kinds[name.split(".")[-1].strip('"')] == "VIEW" else "table"
                    connection.execute(f"create or replace {what} {name} as ({sql})")
                elif kind == "test" and sql:
                    connection.execute(f"select count(*) from ({sql})").fetchall()
            return perf_counter() - began


def bare_publish(settings, _step: str) -> float:
    """Seconds that DuckDB takes to copy the marts to Parquet."""
    from duckbook.backends import warehouse

    with tempfile.TemporaryDirectory(dir=settings.data) as folder, warehouse.open_warehouse(settings, True) as found:
        marts = found.execute("select table_name from duckdb_tables() where schema_name = 'ecom_marts'").fetchall()
        began = perf_counter()
        for (mart,) in marts:
            found.execute(f"copy ecom_marts.{mart} to '{folder}/{mart}.parquet' (format parquet)")
        return perf_counter() - began


def main() -> None:
    """Measure one limit in the data folder that the environment names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=[*LAYERS, "publish"])
    step = parser.parse_args().step

    from duckbook.settings import settings

    print(json.dumps({"seconds": (bare_publish if step == "publish" else bare_build)(settings(), step)}))


if __name__ == "__main__":
    main()
