"""The steps of the chain, as listed in ``notebooks/chain.toml``.

This module reads the file, selects the steps of a run and checks their notebooks before the first one runs: each must
be valid, compile, and have the parameters that it is given.
"""

from __future__ import annotations

import graphlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duckbook.errors import ChainError
from duckbook.runs.notebook_checks import hint, read_parameters
from duckbook.settings import ROOT

CHAIN_FILE = ROOT / "notebooks" / "chain.toml"

READERS = {"explore", "learn"}
"""Groups that only read the warehouse and the published marts, and need no server."""

INDEPENDENT = READERS | {"science"}
"""Groups whose steps run even if another step has failed."""

KEYS = {"name", "notebook", "needs", "parameters", "timeout", "imports", "prepare", "group", "layer", "on_request"}


@dataclass(frozen=True)
class Step:
    """A step of the chain; ``notebooks/chain.toml`` explains its attributes."""

    name: str
    notebook: Path
    needs: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    timeout: float = 3600
    imports: tuple[str, ...] = ()
    prepare: str | None = None
    group: str | None = None
    layer: str | None = None
    on_request: bool = False


def read_chain(file: Path = CHAIN_FILE) -> list[Step]:
    """Read the steps, each after those that it needs.

    Raises
    ------
    ChainError
        The file is unreadable, a key or a needed step is unknown, or steps need each other in a circle.
    """
    try:
        entries = tomllib.loads(file.read_text("utf-8")).get("step", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ChainError(f"The chain file {file.name} cannot be read: {error}.") from None
    steps = {}
    for entry in entries:
        unknown = sorted(set(entry) - KEYS)
        if unknown or not {"name", "notebook"} <= set(entry):
            what = f"does not know the key {unknown[0]!r}" if unknown else "lacks a name or a notebook"
            raise ChainError(
                f"Step {entry.get('name', '?')} in {file.name} {what}: it may have {', '.join(sorted(KEYS))}."
            )
        lists = {key: tuple(entry.get(key, ())) for key in ("needs", "parameters", "imports")}
        step = Step(**{**entry, **lists, "notebook": file.parent / entry["notebook"]})
        if step.name in steps:
            raise ChainError(f"{file.name} has two steps named {step.name}: rename one.")
        steps[step.name] = step
    for step in steps.values():
        for need in step.needs:
            if need not in steps:
                raise ChainError(
                    f"Step {step.name} in {file.name} needs {need}, which is not a step{hint(need, steps)}."
                )
    try:
        order = list(graphlib.TopologicalSorter({name: step.needs for name, step in steps.items()}).static_order())
    except graphlib.CycleError as error:
        raise ChainError(f"Steps in {file.name} need each other in a circle: {' → '.join(error.args[1])}.") from None
    # Prefer the order of the file.
    return list(steps.values()) if _is_ordered(steps) else [steps[name] for name in order]


def _is_ordered(steps: dict[str, Step]) -> bool:
    seen: set[str] = set()
    for name, step in steps.items():
        if not seen.issuperset(step.needs):
            return False
        seen.add(name)
    return True


def select(
    steps: list[Step],
    *,
    first: str | None = None,
    last: str | None = None,
    only: str | None = None,
    generate: bool = True,
    leave_out: tuple[str, ...] = (),
    always: tuple[str, ...] = (),
) -> list[Step]:
    """Select the steps of a run.

    Parameters
    ----------
    first, last
        Names of the first and the last step, both included.
    only
        Name of a single step, or of a group, including its steps on request.
    generate
        Whether to include the group ``generate``; False if others land the data.
    leave_out
        Names of steps to exclude.
    always
        Groups whose steps on request are included without being named.

    Raises
    ------
    ChainError
        A name is unknown, or no step is selected.
    """
    names = [step.name for step in steps]
    groups = {step.group for step in steps} - {None}
    for name in (first, last, only):
        if name is not None and name not in names and not (name == only and only in groups):
            raise ChainError(f"There is no step {name!r}{hint(name, names)}: the steps are {', '.join(names)}.")
    if only is not None:
        return [step for step in steps if only == (step.name if only in names else step.group)]
    begin = names.index(first) if first else 0
    end = names.index(last) + 1 if last else len(names)
    chosen = [
        step
        for step in steps[begin:end]
        if step.name not in leave_out
        and (generate or step.group != "generate")
        and (not step.on_request or step.name in {first, last} or step.group in always)
    ]
    if not chosen:
        raise ChainError(f"No step is left to run from {first or names[0]} until {last or names[-1]}: swap the two.")
    return chosen


def check(steps: list[Step], values: dict[str, Any], extra: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Check the notebooks of the steps, and return the parameters of each.

    Parameters
    ----------
    values
        Parameters of the run. A step takes those that the chain file lists for it.
    extra
        Parameters for all notebooks that have them.

    Returns
    -------
    dict
        Parameters by step, each of the type that its notebook declares.

    Raises
    ------
    ChainError
        A notebook cannot run, or a parameter is unknown.
    """
    known = {step.name: read_parameters(step.notebook) for step in steps}
    parameters = {}
    for step in steps:
        for name in step.parameters:
            if name not in known[step.name]:
                raise ChainError(
                    f"The chain file gives {step.notebook.name} a parameter {name!r}, which its parameters cell lacks"
                    f"{hint(name, known[step.name])}: it has {', '.join(known[step.name]) or 'none'}."
                )
        given = {name: value for name, value in values.items() if name in step.parameters}
        given |= {name: value for name, value in extra.items() if name in known[step.name]}
        parameters[step.name] = {name: known[step.name][name].parse(value) for name, value in given.items()}
    all_names = sorted({name for declared in known.values() for name in declared})
    for name in extra:
        if name not in all_names:
            raise ChainError(
                f"No notebook of this run has a parameter {name!r}{hint(name, all_names)}: there are "
                f"{', '.join(all_names)}."
            )
    return parameters
