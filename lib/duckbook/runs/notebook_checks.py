"""Check a notebook before it runs: that it is valid, compiles and defines its names; and read its parameters."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duckbook.errors import ChainError, first_line

IPYTHON_NAMES = (
    *("get_ipython", "display", "exit", "quit", "In", "Out"),
    *("_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh"),
)
"""Names that IPython defines in every notebook."""

DEFINING_MAGICS = re.compile(r"^\s*%%?(run|pylab|store|load|reset)\b", re.MULTILINE)
"""Magics that may define any name."""

CELL_MAGIC = re.compile(r"\s*%%(\w+)(.*)\n?")

PYTHON_MAGICS = {"time", "timeit", "capture", "prun", "debug"}
"""Cell magics whose body is Python that runs in the notebook."""

LINE_MAGIC = re.compile(r"^([ \t]*)%(?:time|timeit|prun)[ \t]+(?!-)", re.MULTILINE)
"""Line magics before Python that runs in the notebook; not those with options."""

SQL_LINE = re.compile(r"^([ \t]*)(\w+\s*=\s*)?%sql\b((?:.*\\\n)*.*)", re.MULTILINE)

SQL_RESULT = re.compile(r"(?:^|\s)([A-Za-z_]\w*)\s*=?\s*<<")

CELL_LINES = 1_000_000
"""Line numbers per cell in the combined program, so that a line number identifies its cell."""


def undefined_names(cells: Iterable[str]) -> list[tuple[str, int, int]]:
    """Find names that code cells use before they are defined, in order.

    Parameters
    ----------
    cells
        Sources of the code cells, which must compile.

    Returns
    -------
    list of tuple
        The name, the number of its code cell, and its line in the cell, both from 1.
    """
    from pyflakes import checker, messages

    program = ast.Module([], [])
    for number, source in enumerate(cells, 1):
        if DEFINING_MAGICS.search(source):
            return []
        try:
            tree = ast.parse(_without_magics(source))
        except SyntaxError:  # in the body of a magic, which reports it
            tree = ast.parse(_transformed(source))
        program.body += ast.increment_lineno(tree, number * CELL_LINES).body
    kinds = (messages.UndefinedName, messages.UndefinedLocal)
    found = [m for m in checker.Checker(program, builtins=IPYTHON_NAMES).messages if isinstance(m, kinds)]
    found.sort(key=lambda message: message.lineno)
    return [(message.message_args[0], *divmod(message.lineno, CELL_LINES)) for message in found]


def _transformed(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager

    return str(TransformerManager().transform_cell(source))


def _without_magics(source: str) -> str:
    """Python that uses and defines the names that a cell with its magics does, on the same lines."""
    if magic := CELL_MAGIC.match(source):
        name, line, body = magic[1], magic[2], source[magic.end() :]
        if name == "sql":
            return _sql_as_python("", "", f"{line}\n{body}")
        if name in PYTHON_MAGICS:
            variable = re.search(r"(?:^|\s)([A-Za-z_]\w*)", line) if name == "capture" else None
            source = (f"{variable[1]} = None" if variable else "None") + "\n" * magic[0].count("\n") + body
    source = SQL_LINE.sub(lambda match: _sql_as_python(match[1], match[2] or "", match[3]), source)
    # pyflakes ignores what is awaited outside a function.
    return re.sub(r"\bawait\b[ \t]*", "", _transformed(LINE_MAGIC.sub(r"\1", source)))


def _sql_as_python(indent: str, assignment: str, sql: str) -> str:
    result = SQL_RESULT.search(sql)
    target = assignment or (f"{result[1]} = " if result else "")
    return f"{indent}{target}[{', '.join(_template_variables(sql))}]" + "\n" * sql.count("\n")


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
        try:
            compile(_transformed(cell.source), path.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            raise ChainError(f"{path.name}, code cell {number}, line {error.lineno}: {error.msg}.") from None
    for name, cell, line in undefined_names(cell.source for cell in code):
        raise ChainError(
            f"{path.name}, code cell {cell}, line {line}: {name!r} is used, and nothing before it defines it: import "
            "or assign it, or correct its spelling."
        )
    return _parameters(path.name, tagged[0].source)


def _parameters(notebook: str, source: str) -> dict[str, Parameter]:
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, kind, value = node.target.id, ast.unparse(node.annotation), node.value
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, kind, value = node.targets[0].id, "", node.value
        else:
            continue
        try:
            ast.literal_eval(value)
        except ValueError:
            raise ChainError(f"{notebook}: the default of parameter {name} must be a plain value.") from None
        found[name] = Parameter(name, kind)
    return found


def hint(name: str, known: Iterable[str]) -> str:
    """A suggestion of the most similar known name, in parentheses, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
