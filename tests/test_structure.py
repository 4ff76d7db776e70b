"""The helper library stays small: a module a concern, and the arrows point one way."""

import ast
import graphlib
from pathlib import Path

from duckbook.settings import ROOT

PACKAGE = ROOT / "lib" / "duckbook"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(path: Path) -> set[str]:
    """The modules of the package that a module imports, also inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & MODULES.keys()


def test_no_module_imports_one_that_imports_it():
    arrows = {name: imports(path) - {name, "duckbook"} for name, path in MODULES.items() if name != "duckbook"}
    graphlib.TopologicalSorter(arrows).prepare()


def test_settings_stand_at_the_bottom():
    assert imports(MODULES["duckbook.settings"]) - {"duckbook"} == {"duckbook.errors", "duckbook.settings"}
    assert imports(MODULES["duckbook.settings"]) == set()


def test_no_module_grows_past_five_hundred_lines():
    assert {name: n for name, path in MODULES.items() if (n := len(path.read_text("utf-8").splitlines())) > 500} == {}


def test_every_module_and_public_function_says_what_it_is_for():
    silent = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text("utf-8"))
        nodes = [tree, *(n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)))]
        public = [n for n in nodes if not getattr(n, "name", "").startswith("_")]
        silent += [f"{name}.{getattr(n, 'name', '')}" for n in public if not ast.get_docstring(n)]
    assert silent == []
