"""Looking into a notebook before it runs: is it valid, does its code compile and know its names, what can be given?"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duckbook.errors import ChainError, first_line

# What IPython puts into every notebook, beside Python's own.
OF_IPYTHON = (
    "get_ipython",
    "display",
    "exit",
    "quit",
    "In",
    "Out",
    "_",
    "__",
    "___",
    "_i",
    "_ii",
    "_iii",
    "_ih",
    "_oh",
)

# Magics whose text is Python that runs in the notebook.
RUN_PYTHON = {"time", "timeit", "capture", "prun", "debug"}

# Magics that bring names which only running them can tell.
BRING_NAMES = {"run", "pylab", "store", "load", "reset"}

RESULT = re.compile(r"(?:^|\s)([A-Za-z_]\w*)\s*=?\s*<<")

# Room for the lines of one cell, so that a line of the program tells its cell.
CELL = 1_000_000


@dataclass(frozen=True)
class Undefined:
    """A name that nothing defines where it is used; `cell` and `line` count from 1, cells of code only."""

    name: str
    cell: int
    line: int


def find(cells: Iterable[str]) -> list[Undefined]:
    """The names that the code cells of a notebook use before anything has defined them, in order.

    Parameters
    ----------
    cells
        The sources of the code cells; each compiles.
    """
    from pyflakes import checker, messages

    program = ast.Module([], [])
    for number, source in enumerate(cells, 1):
        tree = _told(_parse(source))
        ast.increment_lineno(tree, number * CELL)
        program.body += tree.body
    if any(map(_brings_names, ast.walk(program))):
        return []
    found = checker.Checker(program, builtins=OF_IPYTHON).messages
    kinds = (messages.UndefinedName, messages.UndefinedLocal)
    told = [message for message in found if isinstance(message, kinds)]
    told.sort(key=lambda message: message.lineno)
    return [Undefined(message.message_args[0], *divmod(message.lineno, CELL)) for message in told]


def _parse(source: str) -> ast.Module:
    from IPython.core.inputtransformer2 import TransformerManager

    return _WithoutAwait().visit(ast.parse(TransformerManager().transform_cell(source)))


class _WithoutAwait(ast.NodeTransformer):
    """pyflakes does not look behind an ``await`` that stands outside of a function, which a cell may have."""

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)


def _told(tree: ast.Module) -> ast.Module:
    """The program with each magic as what it does to names."""
    for node in list(ast.walk(tree)):
        for _field, body in ast.iter_fields(node):
            if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                body[:] = [part for statement in body for part in (*_meaning(statement), statement)]
    return tree


def _meaning(statement: ast.stmt) -> Iterator[ast.stmt]:
    for name, line, body in _magics(statement):
        text = f"{line}\n{body}"
        if name == "sql":
            yield from (_at(statement, f"{used}") for used in _in_braces(text))
            if result := RESULT.search(text):
                yield _at(statement, f"{result[1]} = None")
        elif name in RUN_PYTHON:
            if name == "capture" and (variable := re.search(r"(?:^|\s)([A-Za-z_]\w*)", line)):
                yield _at(statement, f"{variable[1]} = None")
            code = body or (line if name in {"time", "timeit", "prun"} else "")
            try:
                yield from _told(ast.increment_lineno(_parse(code), statement.lineno)).body
            except SyntaxError:
                continue  # options of the magic stand before its code


def _magics(statement: ast.stmt) -> Iterator[tuple[str, str, str]]:
    """Name, line and text of the magics that a simple statement calls."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.With, ast.Try)):
        return  # what stands within is looked at by itself
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if node.func.attr in {"run_cell_magic", "run_line_magic"} and len(texts) >= 2:
                yield texts[0], texts[1], texts[2] if len(texts) > 2 else ""


def _brings_names(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt) and any(name in BRING_NAMES for name, _, _ in _magics(node))


def _at(statement: ast.stmt, code: str) -> ast.stmt:
    made = ast.parse(code).body[0]
    for node in ast.walk(made):
        ast.copy_location(node, statement)
    return made


def _in_braces(sql: str) -> list[str]:
    """The names of the notebook that jupysql puts in for ``{{ name }}``; it leaves out undefined ones in silence."""
    from jinja2 import Environment, TemplateSyntaxError, meta

    environment = Environment()
    try:
        wanted = meta.find_undeclared_variables(environment.parse(sql))
    except TemplateSyntaxError:
        return []
    return sorted(wanted - environment.globals.keys())


@dataclass(frozen=True)
class Parameter:
    """A parameter of a notebook: its type as written, its default and its help."""

    name: str
    type: str
    default: Any
    help: str = ""

    def parse(self, value: Any) -> Any:
        """The value as the type wants it.

        Raises
        ------
        ChainError
            A text does not read as the type.
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
    """Check that a notebook can be run, and read its parameters.

    Raises
    ------
    ChainError
        It is missing or invalid, has not exactly one parameters cell, a cell does not compile, or one uses a name that
        nothing has defined.
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
    _know_their_names(path.name, [cell.source for cell in code])
    return _parameters(path.name, tagged[0].source)


def _compile(notebook: str, number: int, source: str) -> None:
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        compile(TransformerManager().transform_cell(source), notebook, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        raise ChainError(f"{notebook}, code cell {number}, line {error.lineno}: {error.msg}.") from None


def _know_their_names(notebook: str, sources: list[str]) -> None:
    for found in find(sources):
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
    """The known name that somebody who wrote `name` may have meant, as an aside, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
