"""Helpers for tests of the chain: small chains, a recording listener, and days built without notebooks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from duckbook.backends import manifest, servers
from duckbook.generate import landing
from duckbook.ingest import history, raw
from duckbook.settings import Settings
from duckbook.transform import dbt_layers

NOTEBOOKS = Path(__file__).parent / "notebooks"


def write_chain(folder: Path, *steps: str, **options: dict) -> Path:
    """Write a chain of copies of the tiny notebooks, each of which needs the one before.

    A step has the name of its notebook, or is given as ``name=notebook``. `options` are keys of a step, by its name.
    The group is explore, so that the chain starts no server.
    """
    lines = []
    before: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        name, _, notebook = step.partition("=")
        shutil.copy(NOTEBOOKS / f"{notebook or name}.ipynb", folder / f"{name}.ipynb")
        keys = {"name": name, "notebook": f"{name}.ipynb", "needs": before, "group": "explore"} | options.get(name, {})
        lines += ["[[step]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), ""]
        before = [name]
    file = folder / "chain.toml"
    file.write_text("\n".join(lines), "utf-8")
    return file


class Memory:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def run_started(self, steps) -> None:
        self.calls.append(("run", [step.name for step in steps]))

    def step_started(self, step) -> None:
        self.calls.append(("start", step.name))

    def cell_started(self, step, cell) -> None:
        self.calls.append(("cell", step.name, cell))

    def step_ended(self, step, entry) -> None:
        self.calls.append(("end", step.name, entry["status"]))


def duckbook(shop: Settings, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start the command line on a data folder, as from a shell."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("DUCKBOOK_")}
    env |= {"DUCKBOOK_DATA": str(shop.data), "DUCKBOOK_RUNS": str(shop.runs)} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "duckbook", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


ELSEWHERE = {
    "clock": {"TZ": "Pacific/Kiritimati"},
    "language": {"LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE.UTF-8"},
    "no language": {"LC_ALL": "C"},
    "no home": {"HOME": "/nonexistent/home"},
    "libpq": {
        "PGSSLMODE": "require",
        "PGSERVICE": "nonsense",
        "PGOPTIONS": "-c search_path=nowhere -c timezone=Asia/Tokyo",
        "PGHOST": "10.255.255.1",
        "PGPORT": "1",
        "PGUSER": "stranger",
        "PGPASSWORD": "wrong",
        "PGDATABASE": "nothing",
        "PGPASSFILE": "/nonexistent",
        "PGCLIENTENCODING": "SQL_ASCII",
        "PGTZ": "Asia/Tokyo",
        "PGDATESTYLE": "German",
    },
    "AWS": {"AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://10.255.255.1", "AWS_CONFIG_FILE": "/nonexistent"},
}
"""Shell environments of other machines, which must not affect embedded servers."""

ODD = "O'Brien's \"Läden\" $x; y"
"""A valid but unusual folder name."""


def begin(shop: Settings) -> None:
    """Land and ingest the history and the first day, and build the marts, without notebooks."""
    endpoints = servers.up(shop)
    landing.land_history(shop, endpoints, **manifest.choose(shop, endpoints))
    advance(shop, shop.first_as_of)


def advance(shop: Settings, as_of: date) -> None:
    """Land and ingest another day, and build the marts."""
    endpoints = servers.up(shop)
    landing.land_latest(shop, endpoints, as_of)
    history.ingest(shop, endpoints, as_of)
    load_and_build(shop)


def load_and_build(shop: Settings) -> None:
    """Load the history into the warehouse, and build the marts."""
    raw.load(shop, servers.up(shop))
    dbt_layers.build(shop, "all")


def cell_states(notebook: Path) -> list[str]:
    """The papermill status of each code cell."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return [cell["metadata"]["papermill"]["status"] for cell in cells if cell["cell_type"] == "code"]


def text_of(notebook: Path) -> str:
    """All text that the cells of an executed notebook printed."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", "")) for output in outputs)
