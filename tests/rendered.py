"""Models and macros of the dbt project rendered without dbt, for tests that run one of them hundreds of times.

Only what a model of ours uses of dbt is there: ref, source, var, env_var and config. Schemas are those of the project.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import jinja2
import yaml
from duckbook.settings import ROOT
from duckbook.tables import source_tables

PROJECT = ROOT / "dbt"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    variables = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    environment.globals |= {
        "ref": lambda name: f"{_schema(name)}.{name}",
        "source": lambda _, name: f"ecom_raw.{name}",
        "var": variables.__getitem__,
        "config": lambda **_: "",
        "env_var": os.environ.get,
    }
    for name in ("casts", "keys", "versions", "history", "attributes", "money", "as_of", "is_cancelled"):
        text = (PROJECT / "macros" / f"{name}.sql").read_text()
        # A macro of dbt sees every other one, wherever it stands; here those that come before it.
        module = environment.from_string(text).make_module()
        environment.globals |= {key: value for key, value in vars(module).items() if callable(value)}
    return environment


@cache
def _schema(name: str) -> str:
    (path,) = PROJECT.glob(f"models/**/{name}.sql")
    return f"ecom_{path.relative_to(PROJECT / 'models').parts[0]}"


def macro(name: str, *arguments, **named) -> str:
    """What a macro gives."""
    return str(_environment().globals[name](*arguments, **named))


def model(name: str) -> str:
    """The query of a model."""
    (path,) = Path(PROJECT).glob(f"models/**/{name}.sql")
    return _environment().from_string(path.read_text()).render()


def stage(connection) -> None:
    """Make the models of staging that say what became of the rows of raw."""
    connection.execute("create schema if not exists ecom_staging")
    connection.execute("set threads = 1")
    bases = [f"{kind}_{name}" for kind in ("base", "stg") for name in source_tables()]
    for name in ("stg_batches", *bases, "quarantine", "row_accounts"):
        kind = "view" if name.startswith("stg_") and name != "stg_batches" else "table"
        connection.execute(f"create or replace {kind} ecom_staging.{name} as {model(name)}")
