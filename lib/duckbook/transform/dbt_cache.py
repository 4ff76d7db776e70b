"""Caches for dbt's compiled templates and its column type testers.

dbt compiles a template each time it renders a model or test, and builds a type tester for each query result: a fifth of
its own time in a build. Kernels that are forked from a process with a warm cache share the templates.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any


@lru_cache(maxsize=1)
def enable() -> None:
    """Cache dbt's templates and type testers in this process."""
    from dbt_common.clients import agate_helper, jinja

    # The native environment is a subclass of this one.
    jinja.MacroFuzzEnvironment.compile = _cached_compile(jinja.MacroFuzzEnvironment.compile)
    agate_helper.build_type_tester = _cached_type_tester(agate_helper.build_type_tester)


def compile_templates(manifest: Any) -> None:
    """Compile ahead what builds render: the models and tests of a project, and the macros that they call."""
    from dbt.clients.jinja import get_template
    from dbt_common.clients.jinja import template_cache

    for node in manifest.nodes.values():
        if node.resource_type in ("model", "test"):
            get_template(node.raw_code, {}, node)
    called = {name for node in manifest.nodes.values() for name in node.depends_on.macros}
    kinds = {node.config.materialized for node in manifest.nodes.values()}
    materializations = {f"materialization_{kind}_{adapter}" for kind in kinds for adapter in ("duckdb", "default")}
    called |= {name for name, macro in manifest.macros.items() if macro.name in materializations}
    compiled: set[str] = set()
    while called := (called & manifest.macros.keys()) - compiled:
        compiled |= called
        for name in called:
            template_cache.get_node_template(manifest.macros[name])
        called = {name for macro in called for name in manifest.macros[macro].depends_on.macros}


def _cached_compile(compile_template: Callable[..., Any]) -> Callable[..., Any]:
    # All environments of one class have the same extensions and filters, so a template compiles to the same code.
    cache: dict[tuple, Any] = {}

    @wraps(compile_template)
    def compile_cached(self: Any, source: Any, *options: Any, **named: Any) -> Any:
        key = (type(self), source, options, tuple(sorted(named.items())))
        if key not in cache:
            cache[key] = compile_template(self, source, *options, **named)
        return cache[key]

    return compile_cached


def _cached_type_tester(build: Callable[..., Any]) -> Callable[..., Any]:
    cached = lru_cache(maxsize=1000)(lambda columns, options: build(columns, **dict(options)))

    @wraps(build)
    def build_cached(text_columns: Any, **options: Any) -> Any:
        return cached(tuple(text_columns), tuple(sorted(options.items())))

    return build_cached
