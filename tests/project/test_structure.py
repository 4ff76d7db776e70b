"""The helper library stays small: one module per concern, and folders that import one way (see pyproject.toml)."""

import ast
import subprocess
import sys
from pathlib import Path

from duckbook.settings import ROOT

PACKAGE = ROOT / "lib" / "duckbook"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
LINT = Path(sys.executable).parent / "lint-imports"


def lint(folder: Path) -> subprocess.CompletedProcess:
    """Run import-linter with the contracts of pyproject.toml in a folder that holds it."""
    return subprocess.run([LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120)


def test_the_folders_import_one_way():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


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
