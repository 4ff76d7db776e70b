"""Find notebooks whose committed outputs are older than their sources.

When its outputs are refreshed, a notebook's metadata get checksums of its sources: its code, the notebooks before it,
the library modules that these import, and the dbt project if a step before it builds that. Comments and docstrings do
not count. A notebook is stale if a checksum has changed.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from duckbook.runs.chain import CHAIN_FILE, Step, read_chain
from duckbook.settings import ROOT

KEY = "duckbook_sources"
"""Key of the checksums in a notebook's metadata."""

PACKAGE = ROOT / "lib" / "duckbook"


def sources(step: Step, steps: list[Step]) -> dict[str, str]:
    """Checksums of the sources of a step's outputs, by kind: cells, notebooks before, library, dbt."""
    before = _before(step, {other.name: other for other in steps})
    code = {other.name: _code(other.notebook) for other in (*before, step)}
    modules = sorted(set().union(*(_modules_of(text) for text in code.values())))
    checksums = {
        "cells": _checksum([code[step.name]]),
        "notebooks before": _checksum(code[other.name] for other in before),
        "library": _checksum(_python(PACKAGE / name) for name in modules),
    }
    if any(other.group == "transform" for other in (*before, step)):
        files = sorted(path for kind in ("models", "macros") for path in (ROOT / "dbt" / kind).rglob("*.sql"))
        checksums["dbt"] = _checksum(_sql(path) for path in files)
    return checksums


def stale(file: Path = CHAIN_FILE) -> dict[str, list[str]]:
    """Notebook → the kinds of sources that have changed since its outputs were refreshed."""
    import nbformat

    steps = read_chain(file)
    changed = {}
    for step in steps:
        old, new = nbformat.read(step.notebook, as_version=4).metadata.get(KEY, {}), sources(step, steps)
        changed[step.notebook.name] = sorted(kind for kind in old.keys() | new.keys() if old.get(kind) != new.get(kind))
    return changed


def _before(step: Step, steps: dict[str, Step]) -> list[Step]:
    """The steps that a step needs, directly and indirectly, in the order of the chain."""
    names, waiting = set(), [step]
    while waiting:
        for need in waiting.pop().needs:
            if need not in names:
                names.add(need)
                waiting.append(steps[need])
    return [other for name, other in steps.items() if name in names]


def _code(notebook: Path) -> str:
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def _modules_of(text: str) -> set[str]:
    """Files of the package that the cells of a notebook import, directly and indirectly."""
    lines = [line for line in text.splitlines() if re.match(r"\s*(from|import) duckbook\b", line)]
    waiting, found = list(_imported("\n".join(line.strip() for line in lines))), set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports_of(name)
    return found


@cache
def _imports_of(name: str) -> tuple[str, ...]:
    return _imported((PACKAGE / name).read_text("utf-8"))


def _imported(text: str) -> tuple[str, ...]:
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".")[1:] for name in names if name.split(".")[0] == "duckbook"]
    files = {"/".join(part) + ending for part in parts for ending in (".py", "/__init__.py")} | {"__init__.py"}
    return tuple(sorted(name for name in files if (PACKAGE / name).is_file()))


@cache
def _python(path: Path) -> str:
    """The code of a module without comments and docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return ast.dump(tree)


@cache
def _sql(path: Path) -> str:
    """The code of a model or macro without comments and line breaks."""
    return " ".join(re.sub(r"--[^\n]*|\{#.*?#\}", "", path.read_text("utf-8"), flags=re.DOTALL).split())


def _checksum(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
