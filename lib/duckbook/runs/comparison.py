"""Compare the records of two runs: parameters, versions, code, durations, rows and headline figures.

Equal values are omitted, except durations and headline figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from duckbook.analysis import page_charts
from duckbook.runs import facts

MOST_FILES = 40
"""How many changed files are listed; the others are counted."""

ABSENT = "–"


@dataclass(frozen=True)
class Section:
    """A table of the comparison; the last column may be the change."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Section]:
    """Compare two runs.

    Parameters
    ----------
    old, new
        Their records.
    """
    return [
        _section("How they ended", "", _differing(_ending(old), _ending(new), always=True)),
        _section("Headline figures", "figure", _figures(old, new), change=True),
        _section("Rows that differ", "table", _rows(old["tables"], new["tables"]), change=True),
        _section("Seconds of each step", "step", _times(old, new), change=True),
        _section("Parameters", "parameter", _differing(old["parameters"], new["parameters"])),
        _section("Versions", "package", _differing(_versions(old), _versions(new))),
        _section("Code", "file", _files(old.get("code", {}), new.get("code", {}))),
    ]


def _section(title: str, first: str, rows: Iterable[tuple[str, ...]], *, change: bool = False) -> Section:
    return Section(title, (first, "before", "after", *(["change"] if change else [])), tuple(rows))


def _ending(record: dict[str, Any]) -> dict[str, Any]:
    words = [word for word in (facts.PASSED, facts.FAILED, facts.WARNED) if record["tests"][word]]
    return {
        "status": record["status"],
        "as of": record["as_of"],
        "data folder": record.get("store"),
        "target": record["target"],
        "seconds": None if record["seconds"] is None else f"{record['seconds']:.1f}",
        "tests": ", ".join(f"{record['tests'][word]} {word}" for word in words),
        "error": record["error"],
    }


def _versions(record: dict[str, Any]) -> dict[str, Any]:
    git = record.get("git") or {}
    commit = git.get("commit")
    dirty = ", with changes" if git.get("dirty") else ""
    return record.get("versions", {}) | {"commit": f"{commit[:12]}{dirty}" if commit else None}


def _differing(old: dict[str, Any], new: dict[str, Any], always: bool = False) -> Iterable[tuple[str, ...]]:
    for name in dict.fromkeys([*old, *new]):
        if (always and (old.get(name) or new.get(name))) or old.get(name) != new.get(name):
            yield name, _shown(old.get(name)), _shown(new.get(name))


def _files(old: dict[str, str], new: dict[str, str]) -> Iterable[tuple[str, ...]]:
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    for name in names[:MOST_FILES]:
        yield name, _short(old.get(name)), _short(new.get(name))
    if len(names) > MOST_FILES:
        yield f"and {len(names) - MOST_FILES} more", "", ""


def _times(old: dict[str, Any], new: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    before, after = ({step["name"]: step["seconds"] for step in record["steps"]} for record in (old, new))
    before["the whole run"], after["the whole run"] = old["seconds"], new["seconds"]
    for name in sorted({*before, *after}, key=lambda n: [*before, *after].index(n)):
        first, second = before.get(name), after.get(name)
        if first is not None or second is not None:
            change = "" if first is None or second is None else f"{second - first:+.1f}"
            yield name, _seconds(first), _seconds(second), change


def _rows(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    before, after = ({row["table"]: row for row in rows} for rows in (old, new))
    for table in dict.fromkeys([*before, *after]):
        for column in (*facts.FLOWS, *facts.STOCKS):
            first, second = before.get(table, {}).get(column), after.get(table, {}).get(column)
            if first != second:
                change = "" if first is None or second is None else f"{second - first:+,}"
                yield f"{table}: {column}", _number(first), _number(second), change


def _figures(old: dict[str, Any], new: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    before, after = ({f["name"]: f for f in record.get("facts", {}).get("figures", [])} for record in (old, new))
    for name in dict.fromkeys([*before, *after]):
        first, second = (side.get(name, {}).get("value") for side in (before, after))
        change = f"{100 * (second - first) / first:+.2f}%".replace("-", "−") if first and second is not None else ""
        figures = (page_charts.format_figure(side[name]) if name in side else ABSENT for side in (before, after))
        yield name, *figures, change


def _shown(value: Any) -> str:
    return ABSENT if value is None or value == "" else str(value)


def _short(checksum: str | None) -> str:
    return ABSENT if checksum is None else str(checksum)[:12]


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _number(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"
