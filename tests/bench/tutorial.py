"""How long the tutorial project takes that this one grew out of, beside ours, from nothing to tested marts.

It generates 1,000 customers with their history and latest days, lands them in S3 and Postgres, ingests them into DuckDB
and runs and tests its dbt models. It runs as its authors wrote it, with the versions that they pinned, in an
environment of its own, against the same servers as ours, which it finds up, where ours starts them. Its copy to
MotherDuck is left out: that wants an account.

It is not ours to hand on: `git clone https://github.com/sclauguico/ecom-snowflake-duckdb-migration`, and then
`make bench BENCH="tutorial --tutorial FOLDER"`. `dbt deps` fetches its one package, unless that is there already.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import median

from duckbook.settings import Settings, settings
from measuring import BIN, DUCKBOOK, LAYERS, Figures, Timing, fresh_shop, steps_of_newest_run, timed

WHOLE = "from nothing to tested marts"
PIPELINE, DBT = Path("src/pipeline"), Path("dbt/dbt_duckdb")
PINNED_ON = "2025-02-01"
"""What it needs and does not pin is as new as it was then; today's would not go together."""

OURS = {
    "generation": ("generate_history", "generate_latest"),
    "ingestion": ("ingest",),
    "dbt": LAYERS,
}
"""What theirs calls its phases → the steps of ours."""

USED = shutil.ignore_patterns("target", "logs", ".env", "*.db")
"""What a clone holds that was used before: it would make it quicker, or lead it elsewhere."""

WITHOUT_MOTHERDUCK = """
import runpy, sys
found = runpy.run_path(sys.argv[1])["IncrementalETL"]
found.reset_motherduck_database = found.sync_to_motherduck = lambda *_: True
found("no token").run_etl()
"""


def measure(figures: Figures, customers: int, runs: int, checkout: Path) -> None:
    """Add the figures of both, and of their phases; the number of customers is fixed in their code."""
    binaries = _environment(checkout)
    taken: dict[str, dict[str, list[Timing]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(runs):
        for whose, work in (("theirs", partial(_theirs, checkout, binaries)), ("ours", _ours)):
            with fresh_shop(customers=customers) as environment:
                for phase, timing in work(environment).items():
                    taken[phase][whose].append(timing)
    for phase, of_whom in taken.items():
        reference = f"the tutorial project, {phase}"
        figures.add(reference, f"{customers:,} customers", of_whom["theirs"])
        seconds = median(timing.seconds for timing in of_whom["theirs"])
        figures.add(f"ours, {phase}", f"{customers:,} customers", of_whom["ours"], (reference, seconds))


def _environment(checkout: Path) -> Path:
    """The programs of an environment with what the tutorial project asks for; it is made once."""
    folder = settings().data / "bench" / "tutorial"
    wanted = (checkout / "requirements.txt").read_text("utf-8")
    told = folder / "requirements.txt"
    if not told.exists() or told.read_text("utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        uv = str(BIN / "uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        python = str(folder / "bin" / "python")
        install = [uv, "pip", "install", "--quiet", "--python", python, "--exclude-newer", PINNED_ON]
        subprocess.run([*install, "-r", str(checkout / "requirements.txt")], check=True)
        told.write_text(wanted, encoding="utf-8")
    return folder / "bin"


def _theirs(checkout: Path, binaries: Path, shop: dict[str, str]) -> dict[str, Timing]:
    """Seconds of the tutorial project's phases, in a copy of it, and of all that."""
    with tempfile.TemporaryDirectory(prefix="duckbook-tutorial-") as name:
        folder = Path(name)
        for part in (PIPELINE, DBT):
            shutil.copytree(checkout / part, folder / part, ignore=USED)
        environment = _reached(shop)
        dbt, project = str(binaries / "dbt"), folder / DBT
        if not (project / "dbt_packages").is_dir():
            timed([[dbt, "deps"]], environment, project)
        python = str(binaries / "python")

        def program(file: str, *before: str) -> list[str]:
            return [python, *before, str(folder / PIPELINE / f"{file}.py")]

        programs = [program(f"{which}_synthetic_data") for which in ("0_generate_historic", "generate_latest")]
        generated = timed(programs, environment, folder)
        latest = program("ingest_latest_synthetic_data", "-c", WITHOUT_MOTHERDUCK)
        ingested = timed([program("0_ingest_historic_synthetic_data"), latest], environment, folder)
        if failed := re.findall("Error processing table .*", ingested.printed):
            sys.exit(f"The tutorial project passes over what fails: {failed[0]}")
        layers = [
            [dbt, verb, "--profile", "duckdb", "--target", f"dev_{layer}", "--select", f"ecom_{layer}"]
            for layer in LAYERS
            for verb in ("run", "test")
        ]
        built = timed(layers, environment, project)
    phases = {"generation": generated, "ingestion": ingested, "dbt": built}
    return {WHOLE: _together(*phases.values())} | phases


def _reached(shop: dict[str, str]) -> dict[str, str]:
    """The environment of the tutorial project, with nothing of a person's own: a data folder whose servers are up."""
    timed([[DUCKBOOK, "up"]], shop)
    lines = timed([[DUCKBOOK, "env"]], shop).printed.splitlines()
    told = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in lines)
    postgres = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD", "DB": "PGDATABASE"}
    buckets = {name: Settings.model_fields[f"s3_{name}_bucket"].default for name in ("historic", "latest")}
    kept = {name: shop[name] for name in ("PATH", "HOME", "DUCKBOOK_DATA") if name in shop}
    return {
        **kept,
        **told,
        "AWS_S3_ACCESS_KEY_ID": told["AWS_ACCESS_KEY_ID"],
        "AWS_S3_SECRET_ACCESS_KEY": told["AWS_SECRET_ACCESS_KEY"],
        "AWS_S3_HISTORIC_SYNTH": buckets["historic"],
        "AWS_S3_LATEST_SYNTH": buckets["latest"],
        **{f"POSTGRES_{name}": told[libpq] for name, libpq in postgres.items()},
    }


def _ours(shop: dict[str, str]) -> dict[str, Timing]:
    """Seconds of our chain up to the marts, which starts its servers too, and of its phases."""
    whole = timed([[DUCKBOOK, "run", "--until", "marts"]], shop)
    steps = steps_of_newest_run(shop)
    return {WHOLE: whole} | {phase: _together(*(steps[name] for name in names)) for phase, names in OURS.items()}


def _together(*timings: Timing) -> Timing:
    """One timing of what was done one after another."""
    return Timing(sum(one.seconds for one in timings), max(one.peak_mb for one in timings), "")
