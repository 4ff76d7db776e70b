"""Checksums of the code, and what a change makes stale: committed outputs, and steps of a run that is resumed.

There is one checksum per notebook and per folder of the library and of dbt. A step uses its notebook, the folders
of the library that the notebook imports and those below them, and, if it builds a layer of dbt, the folders of that
layer and those that all layers share.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from duckbook.runs.chain import CHAIN_FILE, Step, read_chain
from duckbook.settings import ROOT

LIBRARY = "lib/duckbook"

ORDER = ("cli", "ops", "runs", "publish", "transform", "ingest", "backends")
"""Folders of the library that may import those after them; `analysis` and `generate` may import the last."""

READS_MARTS = re.compile(r"""['"]published['"]""")
"""Code of notebooks for which `analysis` opens published marts, and so also needs `publish`."""

READ_BY = {
    "dbt/dbt_project.yml": f"{LIBRARY}/ingest",
    "dbt/macros/casts.sql": f"{LIBRARY}/ingest",
    "dbt/models/staging/_sources.yml": LIBRARY,
    "docs/metrics.md": f"{LIBRARY}/analysis",
}
"""Files elsewhere that the library reads, and the folder in whose checksum they count."""

METADATA_KEY = "duckbook_sources"
"""Key of `sources` in the metadata of a notebook."""


def checksums(chain_file: Path = CHAIN_FILE, read: Callable[[Path], bytes] = Path.read_bytes) -> dict[str, str]:
    """SHA-256 of the code of each notebook of the chain, and of each folder of the library and of dbt."""
    contents = {step.notebook.name: [code.encode() for code in _code(step.notebook)] for step in read_chain(chain_file)}
    for path in sorted({*_files(), *(ROOT / name for name in READ_BY)}):
        name = path.relative_to(ROOT)
        folder = READ_BY.get(name.as_posix()) or "/".join(name.parent.parts[:3])
        contents.setdefault(folder, []).extend((str(name).encode(), read(path)))
    return {name: hashlib.sha256(b"\0".join(parts)).hexdigest() for name, parts in contents.items()}


def changed(step: Step, then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Names in earlier and current `checksums` that a step uses and that differ, its notebook first."""
    differing = _differing(_used(step, {*then, *now}), then, now)
    return sorted(differing, key=lambda name: name != step.notebook.name)


def sources(chain_file: Path = CHAIN_FILE) -> dict[str, dict[str, str]]:
    """Checksums, by notebook, of all that its outputs depend on: what its step and those that it needs use.

    Comments and docstrings do not count.
    """
    now = checksums(chain_file, _without_comments)
    used: dict[str, set[str]] = {}
    found = {}
    for step in read_chain(chain_file):
        used[step.name] = _used(step, now).union(*(used[need] for need in step.needs))
        found[step.notebook.name] = {name: now[name][:12] for name in sorted(used[step.name])}
    return found


def stale(chain_file: Path = CHAIN_FILE) -> dict[str, list[str]]:
    """Each notebook, and what has changed since its committed outputs were refreshed."""
    now = sources(chain_file)
    notebooks = [step.notebook for step in read_chain(chain_file)]
    then = {path.name: json.loads(path.read_text("utf-8"))["metadata"].get(METADATA_KEY, {}) for path in notebooks}
    return {name: _differing({*then[name], *now[name]}, then[name], now[name]) for name in then}


def imported_by(notebook: Path) -> list[str]:
    """Modules that a notebook imports itself, and that its kernel can import before it begins."""
    has_sql = any(source.startswith("%%sql") for source in _code(notebook))
    return sorted({*_imports(notebook, lambda tree: tree.body), *(["sql.magic"] if has_sql else [])})


def _differing(names: set[str], then: dict[str, str], now: dict[str, str]) -> list[str]:
    return sorted(name for name in names if then.get(name) != now.get(name))


def _used(step: Step, names: Iterable[str]) -> set[str]:
    """Which of these names of notebooks and folders a step uses."""
    imported = [name.split(".") for name in _imports(step.notebook) if name.split(".")[0] == "duckbook"]
    # `duckbook.load` reads published marts.
    folders = {folder for _, *below in imported for folder in (below[:1] or ("analysis", "publish"))}
    if folders and READS_MARTS.search("\n".join(_code(step.notebook))):
        folders.add("publish")
    if folders:
        highest = min((place for place, folder in enumerate(ORDER) if folder in folders), default=len(ORDER) - 1)
        folders |= {"", *ORDER[highest:]}
    if folders & {"cli", "ops", "runs"}:
        folders |= {"analysis", "generate"}
    used = {step.notebook.name, *(f"{LIBRARY}/{folder}".rstrip("/") for folder in folders)}
    if step.layer:
        others = {Path(name).name for name in names if name.startswith("dbt/models/")} - {step.layer}
        used |= {name for name in names if name.split("/")[0] == "dbt" and Path(name).name not in others}
    return used & set(names)


def _imports(notebook: Path, nodes: Callable[[ast.Module], Iterable[ast.AST]] = ast.walk) -> Iterator[str]:
    """Modules that these nodes of the notebook's code import."""
    from IPython.core.inputtransformer2 import TransformerManager

    for source in _code(notebook):
        with suppress(SyntaxError):  # which the checks before a run report
            for node in nodes(ast.parse(TransformerManager().transform_cell(source))):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield node.module
                    yield from filter(_is_ours, (f"{node.module}.{alias.name}" for alias in node.names))


def _is_ours(name: str) -> bool:
    path = ROOT.joinpath("lib", *name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _code(notebook: Path) -> list[str]:
    """The sources of a notebook's code cells; none if it is invalid, which the checks before a run report."""
    with suppress(OSError, ValueError, KeyError):
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return []


def _files() -> Iterator[Path]:
    """Files of the library and of dbt."""
    for top in (ROOT / LIBRARY, ROOT / "dbt"):
        for path in top.rglob("*"):
            parts = path.relative_to(ROOT).parts
            is_hidden = any(part.startswith((".", "__pycache__")) for part in parts)
            # Descriptions of models are in Markdown.
            is_code = not is_hidden and (path.suffix != ".md" or parts[:2] == ("dbt", "models"))
            if is_code and parts[:2] not in {("dbt", "target"), ("dbt", "logs")} and path.is_file():
                yield path


def _without_comments(path: Path) -> bytes:
    """The content of a file, of Python without comments and docstrings, of SQL without comments and line breaks."""
    text = path.read_text("utf-8", errors="replace")
    if path.suffix == ".sql":
        text = " ".join(re.sub(r"--[^\n]*|\{#.*?#\}", "", text, flags=re.DOTALL).split())
    elif path.suffix == ".py":
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                body[:] = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
        text = ast.dump(tree)
    return text.encode()
