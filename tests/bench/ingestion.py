"""How quick ingestion is, side by side with DuckDB's own limit and with dlt, on one landing zone.

Ours is what notebook 03 does: the landing zone to the history in S3, and the history to raw. The limit is DuckDB
reading the same NDJSON and the same Postgres tables straight into tables of a file, and copying these as Parquet to
the same S3: no row is told from another there, and none is looked for. dlt loads the same into its duckdb destination
in the fastest set-up that its documentation names: Arrow tables, which it passes on unparsed, read by pyarrow from S3
and by connectorx from Postgres, in parallel, as Parquet. That only appends. Once more it merges by the business keys,
which is as near as it comes to what ours does: no row is stored twice, though of a key only one version is kept.

Each figure is the work of a process of its own, without its imports. `python tests/bench/ingestion.py --rows 200000`
is quick; `--rows 50000000` takes an hour and 40 GB of disk.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
from pathlib import Path
from time import perf_counter

from measuring import Figures, Timing, fresh_shop, timed

ROWS_A_CUSTOMER = 63
LIMIT = "DuckDB alone, into tables and Parquet"
S3_TABLES = ("customers", "products", "orders", "reviews")
POSTGRES_TABLES = ("categories", "subcategories", "order_items", "interactions")


def measure(figures: Figures, customers: int, runs: int) -> None:
    """Add the figures of a landing zone of this many customers, which is landed once."""
    # Rows that are broken on purpose stop dlt and DuckDB's own reader.
    with fresh_shop(customers=customers, dirt=0) as environment:
        timed([[sys.executable, "-m", "duckbook.cli.commands", "run", "--until", "generate_latest"]], environment)
        taken: dict[str, list[Timing]] = {}
        rows = 0
        for _ in range(runs):
            _work("forget", environment)
            for what in ("limit", "ours", "again", "dlt", "dlt_merged"):
                told = _work(what, environment)
                taken.setdefault(what, []).append(Timing(told["seconds"], told["peak_mb"], ""))
                rows = told.get("rows") or rows
    size = f"{rows:,} rows"
    figures.add(LIMIT, size, taken["limit"], rows=rows)
    limit = (LIMIT, figures.rows[-1]["seconds"])
    figures.add("ingested and loaded", size, taken["ours"], limit, rows)
    first = ("ingested and loaded", figures.rows[-1]["seconds"])
    figures.add("ingested again, nothing new", size, taken["again"], first)
    figures.add("dlt, Arrow to duckdb", size, taken["dlt"], first, rows)
    figures.add("dlt, the same merged by key", size, taken["dlt_merged"], first, rows)


def _work(what: str, environment: dict[str, str]) -> dict:
    done = timed([[sys.executable, __file__, "--work", what]], environment)
    return json.loads(done.printed.splitlines()[-1])


def forget(settings, endpoints, _folder: Path) -> int:
    """Take away what earlier runs made of the landing zone."""
    from duckbook.backends import storage

    client = storage.client(endpoints.s3)
    for prefix in ("history/", "limit/"):
        storage.delete_prefix(client, settings.s3_historic_bucket, prefix)
    for name in ("limit", "dlt", "dlt_merged"):
        (settings.data / f"{name}.duckdb").unlink(missing_ok=True)
    settings.warehouse_path.unlink(missing_ok=True)
    return 0


def ours(settings, endpoints, _folder: Path) -> int:
    """Ingest the landing zone and load raw; how many rows landed."""
    from duckbook.ingest import history, raw

    report = history.ingest(settings, endpoints)
    raw.load(settings, endpoints)
    return sum(row["landed"] for row in report.tables)


def limit(settings, endpoints, _folder: Path) -> int:
    """The same by DuckDB alone."""
    import duckdb
    from duckbook.backends import warehouse

    config = warehouse.engine_config(settings) | warehouse.FILE_CONFIG
    with duckdb.connect(str(settings.data / "limit.duckdb"), config=config) as connection:
        warehouse.use_landing(connection, endpoints)
        buckets, rows = (settings.s3_historic_bucket, settings.s3_latest_bucket), 0
        for table in (*S3_TABLES, *POSTGRES_TABLES):
            if table in S3_TABLES:
                source = (
                    f"read_ndjson({[f's3://{bucket}/json/{table}/**' for bucket in buckets]}, union_by_name = true)"
                )
            else:
                schema = f"{warehouse.LANDING_DATABASE}.{settings.postgres_schema}"
                source = f"(from {schema}.{table} union all by name from {schema}.latest_{table})"
            connection.execute(f"create table {table} as from {source}")
            target = f"s3://{settings.s3_historic_bucket}/limit/{table}.parquet"
            (copied,) = connection.execute(f"copy {table} to '{target}' (format parquet)").fetchone()
            rows += copied
    return rows


def dlt(settings, endpoints, folder: Path, merged: bool = False) -> int:
    """The same by dlt, which appends, or where it is `merged` replaces what it has of a key."""
    import dlt
    import pyarrow.json
    from dlt.sources.sql_database import sql_table
    from duckbook.backends import storage
    from duckbook.source_tables import source_tables
    from psycopg2.extensions import parse_dsn

    parts = parse_dsn(endpoints.postgres_dsn)
    url = f"postgresql+psycopg2://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
    client = storage.client(endpoints.s3)

    def objects(table: str):
        for bucket in (settings.s3_historic_bucket, settings.s3_latest_bucket):
            for stored in storage.list_objects(client, bucket, f"json/{table}/"):
                if stored.size:
                    body = client.get_object(Bucket=bucket, Key=stored.key)["Body"]
                    yield pyarrow.json.read_json(body)

    resources = [dlt.resource(objects, name=table, parallelized=True)(table) for table in S3_TABLES]
    for table in POSTGRES_TABLES:
        for relation in (table, f"latest_{table}"):
            resources.append(
                sql_table(
                    url, table=relation, schema=settings.postgres_schema, backend="connectorx",
                    backend_kwargs={"return_type": "arrow"},
                ).parallelize()
            )  # fmt: skip
    if merged:
        for each in resources:
            table = source_tables()[each.name.removeprefix("latest_")]
            each.apply_hints(table_name=table.name, primary_key=table.key, write_disposition="merge")
    pipeline = dlt.pipeline(
        "ingestion",
        pipelines_dir=str(folder),
        destination=dlt.destinations.duckdb(str(settings.data / ("dlt_merged.duckdb" if merged else "dlt.duckdb"))),
        dataset_name="landed",
        progress=None,
    )
    pipeline.run(
        resources, loader_file_format="parquet", write_disposition=None if merged else "append"
    ).raise_on_failed_jobs()
    counts = pipeline.last_trace.last_normalize_info.row_counts
    return sum(rows for table, rows in counts.items() if not table.startswith("_dlt"))


def dlt_merged(settings, endpoints, folder: Path) -> int:
    """The same by dlt, by key."""
    return dlt(settings, endpoints, folder, merged=True)


DLT = ("dlt", "dlt.destinations.impl.duckdb", "dlt.sources.sql_database", "pyarrow.json", "connectorx")

WORK = {"forget": forget, "ours": ours, "again": ours, "limit": limit, "dlt": dlt, "dlt_merged": dlt_merged}


def _timed_here(what: str) -> None:
    """Do one thing in this process, and print what it took."""
    import shutil
    import tempfile

    from duckbook.backends import servers
    from duckbook.settings import settings

    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    for name in (
        "boto3",
        "duckbook.ingest.history",
        "duckbook.ingest.raw",
        "duckdb",
        "pandas",
        *(DLT if what.startswith("dlt") else ()),
    ):
        importlib.import_module(name)
    endpoints = servers.up(settings())
    folder = Path(tempfile.mkdtemp(dir=settings().data))
    began = perf_counter()
    rows = WORK[what](settings(), endpoints, folder)
    seconds = perf_counter() - began
    shutil.rmtree(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mb": peak}))


def main() -> None:
    """Measure by itself, or do the work of one figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the landing zone, about")
    parser.add_argument("--runs", type=int, default=3, help="runs of each figure; the median is shown")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        _timed_here(options.work)
        return
    figures = Figures()
    measure(figures, max(200, options.rows // ROWS_A_CUSTOMER), options.runs)
    print(json.dumps(figures.rows, indent=1))


if __name__ == "__main__":
    main()
