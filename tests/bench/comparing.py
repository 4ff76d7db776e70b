"""What figures tell when they are held against each other: how cost grows, and what got slower since the baseline."""

from __future__ import annotations

import json
from collections import defaultdict
from math import log
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
"""The committed figures; only their ratios are compared, because seconds are of one machine."""

SLOWER = 1.25
"""A ratio that grew by so much is worth a look; less is noise on a machine that others use too."""


def exponents(rows: list[dict]) -> dict[str, float]:
    """Figure → the power of the size that its seconds grow with, from its smallest size to its largest; 1 is linear."""
    sizes: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        sizes[row["name"]][_amount(row)] = max(row["seconds"], 0.01)
    grown = {}
    for name, seconds in sizes.items():
        least, most = min(seconds), max(seconds)
        if most > least > 0:
            grown[name] = log(seconds[most] / seconds[least]) / log(most / least)
    return grown


def _amount(row: dict) -> int:
    """The number that a size such as `10,000 customers` begins with."""
    return int(row["size"].split()[0].replace(",", ""))


def baseline() -> dict[tuple[str, str], float]:
    """Figure and size → the ratio that is committed."""
    rows = json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else []
    return {(row["name"], row["size"]): row["ratio"] for row in rows if row["ratio"]}


def commit(rows: list[dict]) -> None:
    """Make figures the baseline; those that were not measured stay."""
    kept = json.loads(BASELINE.read_text("utf-8")) if BASELINE.exists() else []
    merged = {(row["name"], row["size"]): row for row in [*kept, *rows]}
    BASELINE.write_text(json.dumps(list(merged.values()), indent=1) + "\n", encoding="utf-8")


def draw(rows: list[dict], file: Path) -> None:
    """Draw the ratios as bars, and those of the baseline as marks upon them."""
    import matplotlib.pyplot as plt
    from duckbook.analysis import plotting

    shown = [row for row in rows if row["ratio"]]
    if not shown:
        return
    before = baseline()
    with plt.rc_context(plotting.STYLE):
        figure, axes = plt.subplots(figsize=(9, 1 + 0.28 * len(shown)))
        names = [f"{row['name']}, {row['size']}" for row in shown]
        axes.barh(names, [row["ratio"] for row in shown], color=plotting.BLUE, label="now")
        marks = [(before.get((row["name"], row["size"])), name) for row, name in zip(shown, names, strict=True)]
        known = [(ratio, name) for ratio, name in marks if ratio]
        if known:
            axes.scatter(
                *zip(*known, strict=True), color=plotting.ORANGE, marker="|", s=160, zorder=3, label="baseline"
            )
            axes.legend(frameon=False)
        axes.set_xscale("log")
        axes.axvline(1, color=plotting.GREY, linewidth=0.8)
        axes.invert_yaxis()
        axes.set_title("Time as a multiple of each figure's reference")
        axes.set_xlabel("ratio (log scale); 1 is the reference")
        figure.savefig(file)
        plt.close(figure)
