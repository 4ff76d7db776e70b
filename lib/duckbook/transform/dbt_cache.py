"""What dbt works out over and over with the same outcome, worked out once: templates, and the types of what is queried.

dbt compiles the template of a model or a test each time that it renders it, and makes the types by which it reads the
answer of a query for each query: a fifth of its own work in a build. Kernels that are split off from a process that has
compiled them share the templates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any


@lru_cache(maxsize=1)
def remember() -> None:
    """Let dbt, in this process, remember the templates that it compiles and the types that it makes."""
    from dbt_common.clients import agate_helper, jinja

    # The environment that gives values instead of text is a kind of this one.
    jinja.MacroFuzzEnvironment.compile = _compiled_once(jinja.MacroFuzzEnvironment.compile)
    agate_helper.build_type_tester = _made_once(agate_helper.build_type_tester)


def compile_templates(manifest: Any) -> None:
    """Compile now what builds render: the models and tests of a project, and the macros that they call."""
    from dbt.clients.jinja import get_template
    from dbt_common.clients.jinja import template_cache

    for node in manifest.nodes.values():
        if node.resource_type in ("model", "test"):
            get_template(node.raw_code, {}, node)
    called = {name for node in manifest.nodes.values() for name in node.depends_on.macros}
    kinds = {node.config.materialized for node in manifest.nodes.values()}
    made_by = {f"materialization_{kind}_{adapter}" for kind in kinds for adapter in ("duckdb", "default")}
    called |= {name for name, macro in manifest.macros.items() if macro.name in made_by}
    compiled: set[str] = set()
    while called := (called & manifest.macros.keys()) - compiled:
        compiled |= called
        for name in called:
            template_cache.get_node_template(manifest.macros[name])
        called = {name for macro in called for name in manifest.macros[macro].depends_on.macros}


def _compiled_once(compile_template: Callable[..., Any]) -> Callable[..., Any]:
    # All environments of a class have the same extensions and filters, so that a text gives the same code in each.
    known: dict[tuple, Any] = {}

    @wraps(compile_template)
    def remembered(self: Any, source: Any, *options: Any, **named: Any) -> Any:
        key = (type(self), source, options, tuple(sorted(named.items())))
        if key not in known:
            known[key] = compile_template(self, source, *options, **named)
        return known[key]

    return remembered


def _made_once(make: Callable[..., Any]) -> Callable[..., Any]:
    made = lru_cache(maxsize=1000)(lambda columns, options: make(columns, **dict(options)))

    @wraps(make)
    def remembered(text_columns: Any, **options: Any) -> Any:
        return made(tuple(text_columns), tuple(sorted(options.items())))

    return remembered
