"""Compare the records of two runs: parameters, versions, code, durations, rows and headline figures.

Equal values are omitted, except durations and headline figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from duckbook.analysis import page_charts
from duckbook.runs import facts

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

    def section(
        title: str,
        first: str,
        values: Callable[[dict[str, Any]], dict[str, Any]],
        show: Callable[[Any], str] = str,
        change: Callable[[Any, Any], str] | None = None,
        *,
        always: bool = False,
    ) -> Section:
        before, after, rows = values(old), values(new), []
        for name in dict.fromkeys([*before, *after]):
            pair = before.get(name), after.get(name)
            if pair[0] != pair[1] or (always and pair[0] not in (None, "")):
                shown = [ABSENT if value in (None, "") else show(value) for value in pair]
                rows.append((name, *shown, *([change(*pair) if None not in pair else ""] if change else [])))
        return Section(title, (first, "before", "after", *(["change"] if change else [])), tuple(rows))

    return [
        section("How they ended", "", _ending, always=True),
        section("Headline figures", "figure", _figures, page_charts.format_figure, _growth, always=True),
        section("Rows that differ", "table", _rows, "{:,}".format, lambda a, b: f"{b - a:+,}"),
        section("Seconds of each step", "step", _seconds, "{:.1f}".format, lambda a, b: f"{b - a:+.1f}", always=True),
        section("Parameters", "parameter", lambda record: record["parameters"]),
        section("Versions", "package", _versions),
        section("Code", "folder or notebook", lambda record: record.get("code", {}), lambda checksum: checksum[:12]),
    ]


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


def _figures(record: dict[str, Any]) -> dict[str, Any]:
    return {figure["name"]: figure for figure in record.get("facts", {}).get("figures", [])}


def _growth(old: dict[str, Any], new: dict[str, Any]) -> str:
    first, second = old.get("value"), new.get("value")
    return f"{100 * (second - first) / first:+.2f}%".replace("-", "−") if first and second is not None else ""


def _rows(record: dict[str, Any]) -> dict[str, Any]:
    columns = (*facts.FLOWS, *facts.STOCKS)
    return {f"{row['table']}: {column}": row.get(column) for row in record["tables"] for column in columns}


def _seconds(record: dict[str, Any]) -> dict[str, Any]:
    return {step["name"]: step["seconds"] for step in record["steps"]} | {"the whole run": record["seconds"]}


def _versions(record: dict[str, Any]) -> dict[str, Any]:
    git = record.get("git") or {}
    commit = git.get("commit")
    dirty = ", with changes" if git.get("dirty") else ""
    return {**record.get("versions", {}), "commit": f"{commit[:12]}{dirty}" if commit else None}
