"""Models and macros of the dbt project rendered without dbt, for tests that run one of them hundreds of times.

Only what a model of ours uses of dbt is there: ref, source, var, env_var and config. Schemas are those of the project.
An incremental model is rendered in full, or, by `increment`, as what it adds to the batches that it was built of.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import jinja2
import yaml
from duckbook.settings import ROOT
from duckbook.source_tables import source_tables

PROJECT = ROOT / "dbt"


@dataclass
class _Rendering:
    """What dbt tells a model while it is rendered, and what the model tells dbt."""

    until: int | None = None
    this: str = ""
    config: dict = field(default_factory=dict)


_rendering = _Rendering()


class _This:
    """The table of the model that is rendered, whenever a macro asks."""

    def __str__(self) -> str:
        return _rendering.this


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], undefined=jinja2.StrictUndefined)
    variables = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    environment.globals |= {
        "ref": lambda name: f"{_schema(name)}.{name}",
        "source": lambda _, name: f"ecom_raw.{name}",
        "var": variables.__getitem__,
        "config": lambda **told: _rendering.config.update(told) or "",
        "is_incremental": lambda: _rendering.until is not None,
        "built_until": lambda: _rendering.until,
        "env_var": os.environ.get,
        "this": _This(),
        "target": {"name": "duckdb"},
    }
    for name in (
        "casts",
        "countries",
        "order_lines",
        "keys",
        "versions",
        "history",
        "labels",
        "written_down",
        "money",
        "as_of",
        "touched",
        "inferred_members",
        "addresses",
        "groups",
        "affected_orders",
        "affected_events",
        "affected_customers",
    ):
        text = (PROJECT / "macros" / f"{name}.sql").read_text()
        # A macro of dbt sees every other one, wherever it stands; here those that come before it.
        module = environment.from_string(text).make_module()
        environment.globals |= {key: value for key, value in vars(module).items() if callable(value)}
    return environment


@cache
def _schema(name: str) -> str:
    if name == "us_states":
        return "ecom_staging"
    (path,) = PROJECT.glob(f"models/**/{name}.sql")
    return f"ecom_{path.relative_to(PROJECT / 'models').parts[0]}"


def macro(name: str, *arguments, **named) -> str:
    """What a macro gives."""
    return str(_environment().globals[name](*arguments, **named))


@cache
def _template(text: str) -> jinja2.Template:
    """A template compiled once: tests render the same models hundreds of times."""
    return _environment().from_string(text)


def generic_test(name: str, relation: str, **arguments) -> str:
    """The query of a generic test of a relation."""
    text = (PROJECT / "tests" / "generic" / f"{name}.sql").read_text()
    text = text.replace("{% test ", "{% macro ").replace("{% endtest %}", "{% endmacro %}")
    return str(getattr(_template(text).make_module(), name)(relation, **arguments))


def model(name: str) -> str:
    """The query of a model."""
    (path,) = Path(PROJECT).glob(f"models/**/{name}.sql")
    return _template(path.read_text()).render()


def relation(name: str) -> str:
    """The table or view of a model, with its schema."""
    return f"{_schema(name)}.{name}"


def increment(connection, name: str, until: int) -> None:
    """Add to the table of a model what it lacks of the batches after a sequence, by the strategy that it names."""
    global _rendering
    table = relation(name)
    _rendering = _Rendering(until, table)
    try:
        query = model(name)
        hooks = _rendering.config.get("pre_hook", [])
        for hook in [hooks] if isinstance(hooks, str) else hooks:
            connection.execute(_template(hook).render())
        connection.execute(f"create or replace temp table added as {query}")
        keys = _rendering.config.get("unique_key", [])
        keys = ", ".join([keys] if isinstance(keys, str) else keys)
        if _rendering.config["incremental_strategy"] == "delete+insert":
            connection.execute(f"delete from {table} where ({keys}) in (select {keys} from added)")
        elif _rendering.config["incremental_strategy"] == "groups":
            changed = f"select {keys} from {macro('written_down')}"
            connection.execute(f"delete from {table} where ({keys}) in ({changed})")
    finally:
        _rendering = _Rendering()
    connection.execute(f"insert into {table} by name from added")


def stage(connection) -> None:
    """Make the models of staging that say what became of the rows of raw."""
    connection.execute("create schema if not exists ecom_staging")
    connection.execute("set threads = 1")
    bases = [f"{kind}_{name}" for kind in ("base", "stg") for name in source_tables()]
    for name in ("stg_batches", *bases, "quarantine", "row_accounts"):
        kind = "view" if name.startswith("stg_") and name != "stg_batches" else "table"
        connection.execute(f"create or replace {kind} ecom_staging.{name} as {model(name)}")
