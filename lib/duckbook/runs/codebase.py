"""Checksums of the code of a run, and which files each step uses; a resumed run repeats steps whose files changed.

A step uses its notebook, the library modules that the notebook imports directly and indirectly, and, if it builds a
layer of the dbt project, the files of that layer and those that all layers share. Imports are found by parsing.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from duckbook.files import checksum
from duckbook.runs.chain import Step
from duckbook.settings import ROOT

LIBRARY = ROOT / "lib" / "duckbook"

PROJECT = ROOT / "dbt"

DATA = {".sql", ".yml", ".csv"}

LAYER_OF = {"seeds": "staging"}
"""Folders of the dbt project that belong to a layer with another name."""

ON_DEMAND = ("duckbook", "duckbook.analysis.notebook")
"""Modules that every notebook imports. Their imports inside functions count only for notebooks with a match below."""

ON_DEMAND_IMPORTS = {
    "duckbook.analysis.datasets": r"duckbook\.load\b|from duckbook import[^\n]*\bload\b",
    "duckbook.backends.warehouse": r"connect\(\s*[^'\"\s]|connect\(\s*['\"](landing|warehouse)",
    "duckbook.publish.publisher": r"connect\(\s*[^'\"\s]|connect\(\s*['\"]published",
    "duckbook.redaction": r"\.report\(",
    "duckbook.analysis.table_style": r"notebook\.start\(",
    "duckbook.analysis.value_style": r"notebook\.start\(",
    "duckbook.backends.servers": r"connect\(\s*[^'\"\s]|connect\(\s*['\"]landing|\.endpoints",
}
"""Modules that `ON_DEMAND` modules import inside functions, and the code in a notebook that needs them."""


def checksums(chain_file: Path) -> dict[str, str]:
    """SHA-256 of each file of the library, the dbt project and the chain's notebooks, by path."""
    files = {_name(path): path for path in (*sorted(LIBRARY.rglob("*.py")), *_data())}
    notebooks = (path for kind in ("*.ipynb", "[!.]*/*.ipynb") for path in sorted(chain_file.parent.glob(kind)))
    files |= {f"notebooks/{path.relative_to(chain_file.parent).as_posix()}": path for path in notebooks}
    return {name: checksum(path) for name, path in files.items()}


def changed(step: Step, then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Files that a step uses and that have changed, the notebook first.

    Parameters
    ----------
    then, now
        Earlier and current `checksums`.
    """
    used = {name for name in {*then, *now} if Path(name).name == step.notebook.name}
    used |= modules_of(step.notebook)
    if step.layer:
        used |= {name for name in {*then, *now} if _layer(name) in {step.layer, "every"}}
    return sorted((name for name in used if then.get(name) != now.get(name)), key=lambda name: (name[0] != "n", name))


def modules_of(notebook: Path) -> set[str]:
    """Paths of the library modules that a notebook uses, and of the data files whose names occur in these."""
    code = _code(notebook)
    waiting = {name for source in code for name in _imports(_without_magics(source))} | _on_demand_modules(code)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _imports_of(name) - found
    texts = [_modules()[name].read_text("utf-8") for name in found]
    data = {_name(path) for path in _data() if any(path.name in text for text in texts)}
    return {_name(_modules()[name]) for name in found} | data


def imported_by(notebook: Path) -> list[str]:
    """Modules that a notebook imports itself, and that its kernel can import before it begins."""
    code = _code(notebook)
    found = _on_demand_modules(code) | ({"sql.magic"} if any(source.startswith("%%sql") for source in code) else set())
    for source in code:
        # The checks before a run report invalid code.
        with suppress(SyntaxError):
            for node in ast.parse(_without_magics(source)).body:
                module = getattr(node, "module", None)
                found |= {name for name in _names(node) if module in {None, name} or name in _modules()}
    return sorted(found)


def _code(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _on_demand_modules(code: list[str]) -> set[str]:
    return {name for name, pattern in ON_DEMAND_IMPORTS.items() if any(re.search(pattern, source) for source in code)}


def _layer(name: str) -> str | None:
    """The dbt layer of a file; ``every`` for files that all layers share."""
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
    """Library modules that a program imports anywhere, with their packages."""
    known = _modules()
    for node in _nodes(tree):
        for name in _names(node):
            parts = name.split(".")
            yield from known.keys() & {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def _names(node: ast.AST) -> list[str]:
    """Names that an import statement may import as modules."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those under ``if TYPE_CHECKING``."""
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
