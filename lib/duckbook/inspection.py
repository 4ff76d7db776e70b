"""Looking into a notebook before it runs: is it valid, does its code compile and know its names, what can be given?"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duckbook import undefined
from duckbook.errors import ChainError, first_line


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
    for found in undefined.find(sources):
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
