"""Names that a notebook uses and nothing defines, found without running it.

pyflakes reads the cells as one program, in their order. Before that IPython's own transformer turns magics into calls,
and the calls that matter are told as what they mean: a ``%%sql name <<`` cell defines ``name``, SQL with ``{{ name }}``
uses it, and ``%%time`` runs the Python within it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
