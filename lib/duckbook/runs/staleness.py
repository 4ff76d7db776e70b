"""Which notebooks' committed outputs are older than what they come of.

When outputs are taken, a notebook keeps sums of its sources: its own code, the notebooks before it, the library
modules that any of these import, and the dbt project where that is built on the way. Comments and docstrings
change no output, and no sum. A notebook is stale when a sum is not what it was.
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
"""Where a notebook's metadata hold the sums."""

PACKAGE = ROOT / "lib" / "duckbook"


def sources(step: Step, steps: list[Step]) -> dict[str, str]:
    """The sums of what the outputs of a step come of, by kind: cells, notebooks before, library, dbt."""
    before = _before(step, {one.name: one for one in steps})
    code = {one.name: _code(one.notebook) for one in (*before, step)}
    found = {"cells": _sum([code[step.name]]), "notebooks before": _sum(code[one.name] for one in before)}
    modules = sorted(set().union(*(_modules_of(text) for text in code.values())))
    found["library"] = _sum(_python(PACKAGE / name) for name in modules)
    if any(one.group == "transform" for one in (*before, step)):
        files = sorted(path for kind in ("models", "macros") for path in (ROOT / "dbt" / kind).rglob("*.sql"))
        found["dbt"] = _sum(_sql(path) for path in files)
    return found


def stale(file: Path = CHAIN_FILE) -> dict[str, list[str]]:
    """Notebook → the kinds of sources that have changed since its outputs were taken; empty where none has."""
    import nbformat

    steps = read_chain(file)
    told = {}
    for step in steps:
        kept = nbformat.read(step.notebook, as_version=4).metadata.get(KEY, {})
        now = sources(step, steps)
        told[step.notebook.name] = sorted(kind for kind in now.keys() | kept.keys() if kept.get(kind) != now.get(kind))
    return told


def _before(step: Step, steps: dict[str, Step]) -> list[Step]:
    """The steps that a step needs, and those that these need, in the order of the chain."""
    names, waiting = set(), [step]
    while waiting:
        for need in waiting.pop().needs:
            if need not in names:
                names.add(need)
                waiting.append(steps[need])
    return [one for name, one in steps.items() if name in names]


def _code(notebook: Path) -> str:
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def _modules_of(text: str) -> set[str]:
    """The files of the package that the Python cells of a notebook import, and all that these import."""
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
    """The code of a module without its comments and docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return ast.dump(tree)


@cache
def _sql(path: Path) -> str:
    """The code of a model or macro without its comments and line breaks."""
    return " ".join(re.sub(r"--[^\n]*|\{#.*?#\}", "", path.read_text("utf-8"), flags=re.DOTALL).split())


def _sum(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
