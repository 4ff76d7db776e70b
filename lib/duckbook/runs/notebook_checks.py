"""Check a notebook before it runs: that it is valid, compiles and defines its names; and read its parameters."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duckbook.errors import ChainError, first_line

IPYTHON_NAMES = (
    *("get_ipython", "display", "exit", "quit", "In", "Out"),
    *("_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh"),
)
"""Names that IPython defines in every notebook."""

PYTHON_MAGICS = {"time", "timeit", "capture", "prun", "debug"}
"""Magics whose body is Python that runs in the notebook."""

DEFINING_MAGICS = {"run", "pylab", "store", "load", "reset"}
"""Magics that may define any name."""

RESULT = re.compile(r"(?:^|\s)([A-Za-z_]\w*)\s*=?\s*<<")

CELL_LINES = 1_000_000
"""Line numbers per cell in the combined program, so that a line number identifies its cell."""


@dataclass(frozen=True)
class Undefined:
    """An undefined name; `cell` counts code cells, and `line` the lines of the cell, from 1."""

    name: str
    cell: int
    line: int


def undefined_names(cells: Iterable[str]) -> list[Undefined]:
    """Find names that code cells use before they are defined, in order.

    Parameters
    ----------
    cells
        Sources of the code cells, which must compile.
    """
    from pyflakes import checker, messages

    program = ast.Module([], [])
    for number, source in enumerate(cells, 1):
        tree = _expand_magics(_parse(source))
        ast.increment_lineno(tree, number * CELL_LINES)
        program.body += tree.body
    if any(map(_may_define_any_name, ast.walk(program))):
        return []
    kinds = (messages.UndefinedName, messages.UndefinedLocal)
    found = [m for m in checker.Checker(program, builtins=IPYTHON_NAMES).messages if isinstance(m, kinds)]
    found.sort(key=lambda message: message.lineno)
    return [Undefined(message.message_args[0], *divmod(message.lineno, CELL_LINES)) for message in found]


def _parse(source: str) -> ast.Module:
    from IPython.core.inputtransformer2 import TransformerManager

    return _WithoutAwait().visit(ast.parse(TransformerManager().transform_cell(source)))


class _WithoutAwait(ast.NodeTransformer):
    """Removes ``await``: pyflakes ignores the expression of a top-level one."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)


def _expand_magics(tree: ast.Module) -> ast.Module:
    """Insert before each magic statements that use and define the same names."""
    for node in list(ast.walk(tree)):
        for _field, body in ast.iter_fields(node):
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                body[:] = [part for statement in body for part in (*_equivalents(statement), statement)]
    return tree


def _equivalents(statement: ast.stmt) -> Iterator[ast.stmt]:
    for name, line, body in _magics(statement):
        text = f"{line}\n{body}"
        if name == "sql":
            yield from (_at(statement, f"{used}") for used in _template_variables(text))
            if result := RESULT.search(text):
                yield _at(statement, f"{result[1]} = None")
        elif name in PYTHON_MAGICS:
            if name == "capture" and (variable := re.search(r"(?:^|\s)([A-Za-z_]\w*)", line)):
                yield _at(statement, f"{variable[1]} = None")
            code = body or (line if name in {"time", "timeit", "prun"} else "")
            try:
                yield from _expand_magics(ast.increment_lineno(_parse(code), statement.lineno)).body
            except SyntaxError:
                continue  # the magic has options before its code


def _magics(statement: ast.stmt) -> Iterator[tuple[str, str, str]]:
    """Name, line and body of the magics that a simple statement calls."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.With, ast.Try)):
        return  # the statements inside are visited themselves
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if node.func.attr in {"run_cell_magic", "run_line_magic"} and len(texts) >= 2:
                yield texts[0], texts[1], texts[2] if len(texts) > 2 else ""


def _may_define_any_name(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt) and any(name in DEFINING_MAGICS for name, _, _ in _magics(node))


def _at(statement: ast.stmt, code: str) -> ast.stmt:
    new = ast.parse(code).body[0]
    for node in ast.walk(new):
        ast.copy_location(node, statement)
    return new


def _template_variables(sql: str) -> list[str]:
    """Variables in ``{{ name }}``, which jupysql replaces, silently by nothing if undefined."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    environment = Environment()
    try:
        variables = meta.find_undeclared_variables(environment.parse(sql))
    except TemplateSyntaxError:
        return []
    return sorted(variables - environment.globals.keys())


@dataclass(frozen=True)
class Parameter:
    """A parameter of a notebook; `type` is its annotation as written."""

    name: str
    type: str
    default: Any
    help: str = ""

    def parse(self, value: Any) -> Any:
        """Convert a value to the parameter's type.

        Raises
        ------
        ChainError
            The text is not of the type.
        """
        kinds = [kind.strip() for kind in self.type.split("|")]
        if not isinstance(value, str) or "str" in kinds or kinds == [""]:
            return value
        if "None" in kinds and value.lower() in {"", "none"}:
            return None
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        try:
            if "int" in kinds:
                return int(value)
            if "float" in kinds:
                return float(value)
            if "bool" in kinds:
                return words[value.lower()]
            return ast.literal_eval(value)
        except (ValueError, KeyError, SyntaxError):
            raise ChainError(f"Parameter {self.name}={value} is not of the type {self.type}.") from None


def read_parameters(path: Path) -> dict[str, Parameter]:
    """Check that a notebook can run, and read its parameters.

    Raises
    ------
    ChainError
        It is missing or invalid, does not have exactly one parameters cell, or a cell does not compile or uses an
        undefined name.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise ChainError(
            f"Notebook {path.name} is not in {path.parent.name}/: put it there, or fix chain.toml."
        ) from None
    except Exception as error:
        raise ChainError(f"{path.name} is not a valid notebook: {first_line(error)}.") from None
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ChainError(f"{path.name} has {len(tagged)} cells tagged `parameters`, and needs exactly one.")
    for number, cell in enumerate(code, 1):
        _compile(path.name, number, cell.source)
    _check_names(path.name, [cell.source for cell in code])
    return _parameters(path.name, tagged[0].source)


def _compile(notebook: str, number: int, source: str) -> None:
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        compile(TransformerManager().transform_cell(source), notebook, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        raise ChainError(f"{notebook}, code cell {number}, line {error.lineno}: {error.msg}.") from None


def _check_names(notebook: str, sources: list[str]) -> None:
    for found in undefined_names(sources):
        raise ChainError(
            f"{notebook}, code cell {found.cell}, line {found.line}: {found.name!r} is used, and nothing before it "
            "defines it: import or assign it, or correct its spelling."
        )


def _parameters(notebook: str, source: str) -> dict[str, Parameter]:
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, kind = node.target.id, ast.unparse(node.annotation)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, kind = node.targets[0].id, ""
        else:
            continue
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise ChainError(f"{notebook}: the default of parameter {name} must be a plain value.") from None
        _, _, comment = lines[node.lineno - 1].partition("#")
        found[name] = Parameter(name, kind, default, comment.strip())
    return found


def hint(name: str, known: Iterable[str]) -> str:
    """A suggestion of the most similar known name, in parentheses, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
