"""The code of a run by checksum, and which of it a step uses: what a resumed run has to do again is told from these.

A step uses its notebook, the modules of the library that the notebook imports, those that these import, and so on, and,
where it builds a layer of the dbt project, that layer's files and those that all layers share. Imports are read, not
made, so that nothing has to run to tell them.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from duckbook.runs.chain import Step
from duckbook.settings import ROOT

LIBRARY = ROOT / "lib" / "duckbook"

PROJECT = ROOT / "dbt"

DATA = {".sql", ".yml", ".csv"}

LAYER_OF = {"seeds": "staging"}
"""Folders of the project that belong to a layer and are not named for it."""

ON_DEMAND = ("duckbook", "duckbook.analysis.notebook")
"""What every notebook imports; what these import within a function, only some ask for."""

ASKED_FOR = {
    "duckbook.analysis.datasets": r"duckbook\.load\b|from duckbook import[^\n]*\bload\b",
    "duckbook.backends.warehouse": r"connect\(\s*[^'\"\s]|connect\(\s*['\"](landing|warehouse)",
    "duckbook.publish.publisher": r"connect\(\s*[^'\"\s]|connect\(\s*['\"]published",
    "duckbook.redaction": r"\.report\(",
    "duckbook.analysis.table_style": r"notebook\.start\(",
    "duckbook.analysis.value_style": r"notebook\.start\(",
    "duckbook.backends.servers": r"connect\(\s*[^'\"\s]|connect\(\s*['\"]landing|\.endpoints",
}
"""What those import within a function, and what a notebook writes that asks for it."""


def checksums(chain_file: Path) -> dict[str, str]:
    """SHA-256 of each file of the library, of the dbt project, and of each notebook of a chain, by its path."""
    files = {_name(path): path for path in (*sorted(LIBRARY.rglob("*.py")), *_data())}
    notebooks = (path for kind in ("*.ipynb", "[!.]*/*.ipynb") for path in sorted(chain_file.parent.glob(kind)))
    files |= {f"notebooks/{path.relative_to(chain_file.parent).as_posix()}": path for path in notebooks}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def changed(step: Step, then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The files that a step uses and that are not what they were, the notebook first.

    Parameters
    ----------
    then, now
        What `checksums` gave, before and now.
    """
    used = {name for name in {*then, *now} if Path(name).name == step.notebook.name}
    used |= modules_of(step.notebook)
    if step.layer:
        used |= {name for name in {*then, *now} if _layer(name) in {step.layer, "every"}}
    return sorted((name for name in used if then.get(name) != now.get(name)), key=lambda name: (name[0] != "n", name))


def modules_of(notebook: Path) -> set[str]:
    """The modules of the library that a notebook uses, and the files of data that these name, by their paths."""
    code = _code(notebook)
    waiting = {name for source in code for name in _imports(_without_magics(source))} | _asked_for(code)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _imports_of(name) - found
    texts = [_modules()[name].read_text("utf-8") for name in found]
    data = {_name(path) for path in _data() if any(path.name in text for text in texts)}
    return {_name(_modules()[name]) for name in found} | data


def imported_by(notebook: Path) -> list[str]:
    """The modules, of the library and others, that a notebook imports itself, to be imported before it begins."""
    code = _code(notebook)
    found = _asked_for(code) | ({"sql.magic"} if any(source.startswith("%%sql") for source in code) else set())
    for source in code:
        # What is no Python is told by the checks before a run.
        with suppress(SyntaxError):
            for node in ast.parse(_without_magics(source)).body:
                module = getattr(node, "module", None)
                found |= {name for name in _names(node) if module in {None, name} or name in _modules()}
    return sorted(found)


def _code(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _asked_for(code: list[str]) -> set[str]:
    return {name for name, asks in ASKED_FOR.items() if any(re.search(asks, source) for source in code)}


def _layer(name: str) -> str | None:
    """The layer that a file of the dbt project belongs to; ``every`` where that is all of them."""
    parts = name.split("/")
    if parts[0] != "dbt":
        return None
    if parts[1] in {"models", "tests"} and len(parts) > 3 and parts[2] != "generic":
        return parts[2]
    return LAYER_OF.get(parts[1], "every")


def _data() -> list[Path]:
    folders = (LIBRARY, PROJECT)
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in DATA)


@cache
def _modules() -> dict[str, Path]:
    names = {path: path.relative_to(LIBRARY.parent).with_suffix("").parts for path in LIBRARY.rglob("*.py")}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in names.items()}


@cache
def _imports_of(module: str) -> set[str]:
    tree = ast.parse(_modules()[module].read_text("utf-8"))
    if module in ON_DEMAND:
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return set(_named(tree))


def _imports(source: str) -> set[str]:
    return set(_named(ast.parse(source)))


def _named(tree: ast.AST) -> Iterator[str]:
    """The modules of the library that a program imports, wherever it does, with the packages that they are in."""
    known = _modules()
    for node in _nodes(tree):
        for name in _names(node):
            parts = name.split(".")
            yield from known.keys() & {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def _names(node: ast.AST) -> list[str]:
    """What an import may import: modules, and what it takes from one, which may be modules too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a checker of types looks at."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    yield tree
    for child in ast.iter_child_nodes(tree):
        yield from _nodes(child)


def _without_magics(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
