"""The chain as data: its steps, which of them a run does, and whether their notebooks can run at all.

``notebooks/chain.toml`` lists the steps; this module reads and checks it and starts nothing. A notebook is checked
before the first one runs: it is a valid notebook whose code compiles, and has the parameters that it is given.
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
"""Groups that read the warehouse and what is published alone, for which no server is started."""

APART = READERS | {"science"}
"""Groups of which each step asks its own question of what is published: when one fails, the others go on."""

KEYS = {"name", "notebook", "needs", "parameters", "timeout", "imports", "prepare", "group", "layer", "on_request"}


@dataclass(frozen=True)
class Step:
    """A notebook in the chain; `timeout` is in seconds; one `on_request` is done only when it is named."""

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
    """The steps in an order in which each comes after those that it needs.

    Raises
    ------
    ChainError
        The file is not readable, a key is unknown, a step needs one that is not there, or they need each other in a
        circle.
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
                raise ChainError(f"Step {step.name} in {file.name} needs {need}, which is no step{hint(need, steps)}.")
    try:
        order = list(graphlib.TopologicalSorter({name: step.needs for name, step in steps.items()}).static_order())
    except graphlib.CycleError as error:
        raise ChainError(f"Steps in {file.name} need each other in a circle: {' → '.join(error.args[1])}.") from None
    # The file's own order where the needs leave a choice, so that people see the chain as it is written.
    place = {name: index for index, name in enumerate(steps)}
    return (
        sorted(steps.values(), key=lambda step: place[step.name]) if _is_ordered(steps) else [steps[n] for n in order]
    )


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
    """The steps that a run does.

    Parameters
    ----------
    first, last
        Names of the first and the last step, both included.
    only
        Name of a single step, or of a group, whose steps on request are done too.
    generate
        Whether the steps of the group ``generate`` are done; not where others land the data.
    leave_out
        Names of steps that are not done.
    always
        Groups whose steps on request are done without being named.

    Raises
    ------
    ChainError
        A name is no step, or nothing is left to do.
    """
    names = [step.name for step in steps]
    groups = {step.group for step in steps} - {None}
    for asked in (first, last, only):
        if asked is not None and asked not in names and not (asked == only and only in groups):
            raise ChainError(f"There is no step {asked!r}{hint(asked, names)}: the steps are {', '.join(names)}.")
    if only is not None:
        return [step for step in steps if only == (step.name if only in names else step.group)]
    asked_for = {first, last}
    begin = names.index(first) if first else 0
    end = names.index(last) + 1 if last else len(names)
    chosen = [
        step
        for step in steps[begin:end]
        if step.name not in leave_out
        and (generate or step.group != "generate")
        and (not step.on_request or step.name in asked_for or step.group in always)
    ]
    if not chosen:
        raise ChainError(f"No step is left to run from {first or names[0]} until {last or names[-1]}: swap the two.")
    return chosen


def check(steps: list[Step], values: dict[str, Any], extra: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Check the notebooks of the steps before any runs, and give each the parameters that it takes.

    Parameters
    ----------
    values
        Parameters of the run; a step takes those that the chain file lists for it.
    extra
        Parameters for whichever notebooks have them.

    Returns
    -------
    dict
        Parameters by step, each of the type that its notebook declares.

    Raises
    ------
    ChainError
        A notebook cannot be run, or a parameter is unknown to the notebook, or to all of them.
    """
    known = {step.name: read_parameters(step.notebook) for step in steps}
    taken = {}
    for step in steps:
        for name in step.parameters:
            if name not in known[step.name]:
                raise ChainError(
                    f"The chain file gives {step.notebook.name} a parameter {name!r}, which its parameters cell lacks"
                    f"{hint(name, known[step.name])}: it has {', '.join(known[step.name]) or 'none'}."
                )
        mine = {name: value for name, value in values.items() if name in step.parameters}
        mine |= {name: value for name, value in extra.items() if name in known[step.name]}
        taken[step.name] = {name: known[step.name][name].parse(value) for name, value in mine.items()}
    everyones = sorted({name for parameters in known.values() for name in parameters})
    for name in extra:
        if name not in everyones:
            there = ", ".join(everyones)
            raise ChainError(
                f"No notebook of this run has a parameter {name!r}{hint(name, everyones)}: there are {there}."
            )
    return taken
