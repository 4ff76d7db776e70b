"""Grammar of the sentences in explorations: patterns, each with an independent check against the published marts.

**How a sentence is checked.** tests/product/test_conclusions.py executes each exploration over a grid of shops and
parameters. Every chart title, bold line and item of the conclusion must fully match a pattern registered for its
notebook, and pass the check of that pattern. A sentence that matches no pattern fails, so a new sentence needs a check.

**How to add a notebook.** Write ``tests/conclusions_of_SUBJECT.py`` and import it in test_conclusions.py::

    from conclusions import Books, says

    @says("customers", r"(?P<share>[\\d.]+%) of the customers have ordered \\(n = (?P<n>[\\d,]+)\\)\\.?")
    def bought(books: Books, chosen: dict, said: dict) -> None:
        customers = books.mart("dim_customers")          # a pandas frame of the published Parquet file
        ...
        assert said["share"] == percent(hits / len(customers))

`chosen` has every parameter of the notebook by name, with its default unless given. `said` has the groups of the
pattern. Compute with plain pandas from the marts, never with the library or the SQL of the notebook. Money in a
conclusion is converted back to ``$``. For sentences of `analysis.statements` use `COMPARISON`, `RANKING` and `ESTIMATE`
with `check_comparison`, `check_ranking` and `check_estimate`, which bootstrap by customer.

**Absent patterns.** `Books.absent` names the effects that a shop does not have ("late", "affinity", "device", "price",
"season", "hours" …). A check of a sentence that claims one passes `is_absent` to `check_comparison`, or asserts that it
is not absent.

**The grid** is `GRID`: parameters by notebook. `make test` runs the first `SHORT` of each, `make soak` runs all.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parent.parent
NOTEBOOKS = {path.stem[3:]: path for path in sorted((ROOT / "notebooks" / "explore").glob("*.ipynb"))}

SHORT = 2

ODD_PERIODS = [
    {"period_start": "2025-11-01", "period_end": "2025-11-01"},
    {"period_start": "2024-01-01", "period_end": "2025-12-01"},
    {"period_start": "2099-01-01"},
    {"period_start": "2026-02-01", "period_end": "2025-02-01"},
    {"period_start": "2026-05-01"},
]

GRID: dict[str, list[dict[str, Any]]] = {
    "sales": [
        {},
        {"state": "TX", "period_start": "2025-01-01"},
        {"category": "Women's wear"},
        {"category": "Electronics"},
        {"category": "x' or '1'='1"},
        {"state": "WY"},
        {"state": "CA", "category": "Books"},
        *ODD_PERIODS,
        {"period_start": "2026-03-03", "period_end": "2026-03-03"},
        {"period_start": "2024-02-10", "period_end": "2026-02-09"},
        {"period_start": "31.12.2025"},
    ],
    "operations": [
        {},
        {"state": "TX"},
        {"period_start": "2026-06-01"},
        {"state": "WY"},
        {"state": "x' or '1'='1"},
        *ODD_PERIODS,
        {"state": "NY", "period_start": "2024-07-01", "period_end": "2025-06-01"},
        {"settled_days": 400},
        {"period_start": "2026-01-15"},
    ],
    "all_marts": [{}, {"mart": "fct_funnel"}, {"mart": "fct_nothing"}, {"mart": "dim_dates"}],
}
"""Parameters by notebook."""


@dataclass
class Books:
    """Published marts of a shop as frames, for checks that are independent of the notebooks.

    Attributes
    ----------
    absent
        Effects that this shop does not have.
    """

    data: Path
    absent: frozenset[str] = frozenset()
    _frames: dict[str, pd.DataFrame] = field(default_factory=dict)

    @cached_property
    def folder(self) -> Path:
        """The current publication."""
        return self.data / "published" / (self.data / "published" / "CURRENT").read_text("utf-8").strip()

    def mart(self, name: str) -> pd.DataFrame:
        """Load a mart; decimals are `Decimal`, so that sums are exact."""
        if name not in self._frames:
            self._frames[name] = pd.read_parquet(self.folder / f"{name}.parquet")
        return self._frames[name]

    def kept(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Cached result of `make` under this name."""
        if name not in self._frames:
            self._frames[name] = make()
        return self._frames[name]


Check = Callable[[Books, dict[str, Any], dict[str, str]], None]
GRAMMAR: dict[str, list[tuple[re.Pattern[str], Check]]] = {}


def says(notebook: str, *patterns: str) -> Callable[[Check], Check]:
    """Register a check for the sentences that match these patterns."""

    def register(check: Check) -> Check:
        GRAMMAR.setdefault(notebook, []).extend((re.compile(pattern, re.DOTALL), check) for pattern in patterns)
        return check

    return register


def sentences(said: Mapping[str, Any]) -> list[str]:
    """Titles, bold lines and list items of an executed notebook."""
    lines = [line.strip() for text in said["texts"] for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    plain = [line.removeprefix("- ").replace("**", "").replace("USD ", "$") for line in lines]
    return [*(" ".join(title.split()) for title in said["titles"]), *plain]


def check_sentence(notebook: str, books: Books, chosen: dict[str, Any], sentence: str) -> None:
    """Check a sentence.

    Raises
    ------
    AssertionError
        It matches no pattern, or it is not true.
    """
    for pattern, check in GRAMMAR.get(notebook, []):
        # A title has a full stop only if it is shown without its chart.
        if found := pattern.fullmatch(sentence) or pattern.fullmatch(sentence.removesuffix(".")):
            try:
                check(books, chosen, found.groupdict())
            except AssertionError as error:
                raise AssertionError(f"{notebook} says: {sentence!r}. {check.__name__}: {error}") from error
            return
    raise AssertionError(f"{notebook} says {sentence!r}, which matches no pattern")


def untrue(notebook: str, books: Books, parameters: dict[str, Any], said: Mapping[str, Any]) -> list[str]:
    """Sentences of an executed notebook that are not true, with what is true."""
    wrong = []
    for sentence in sentences(said):
        try:
            check_sentence(notebook, books, defaults(notebook) | parameters, sentence)
        except AssertionError as error:
            wrong.append(str(error))
    return wrong


def execute(data: Path, jobs: list[tuple[str, dict[str, Any]]], folder: Path) -> list[dict[str, Any]]:
    """Execute notebooks on a shop's publication, in one process that starts no server."""
    jobs_file, results_file = folder / "jobs.json", folder / "said.json"
    requests = [{"notebook": str(NOTEBOOKS[notebook]), "parameters": parameters} for notebook, parameters in jobs]
    jobs_file.write_text(json.dumps(requests), "utf-8")
    program = [sys.executable, Path(__file__).parent / "execute_notebooks.py", jobs_file, results_file]
    done = subprocess.run(program, env=os.environ | {"DUCKBOOK_DATA": str(data)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(results_file.read_text("utf-8"))


def defaults(notebook: str) -> dict[str, Any]:
    """Parameters of a notebook with their defaults."""
    cells = json.loads(NOTEBOOKS[notebook].read_text("utf-8"))["cells"]
    source = next("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: ast.literal_eval(node.value) for node in assigned}


# -- values in sentences ----------------------------------------------------------------------------------------------


def percent(share: float, digits: int = 1) -> str:
    """Format a share as per cent: ``12.3%``."""
    return f"{100 * share:,.{digits}f}%".replace("-", "−")


def number(text: str) -> float:
    """Parse a value from a sentence: ``12.3%``, ``1,234``, ``−0.4``, ``+1.2 points``, ``$1.2M``; nan for a dash."""
    plain = text.strip().replace("−", "-").replace(",", "").replace("$", "").removeprefix("+")
    factor = 0.01 if plain.endswith(("%", "points", "point")) else {"k": 1e3, "M": 1e6, "B": 1e9}.get(plain[-1:], 1.0)
    found = re.match(r"-?\d+(\.\d+)?", plain)
    return float(found[0]) * factor if found else nan


def close(said: str, true: float) -> bool:
    """Whether a value in a sentence equals the true one, up to its digits."""
    if "–" in said or not isfinite(true):
        return "–" in said and not isfinite(true)
    digits = re.search(r"\.(\d+)", said)
    unit = 10.0 ** -(len(digits[1]) if digits else 0)
    unit *= 0.01 if said.rstrip().endswith(("%", "points")) else {"k": 1e3, "M": 1e6, "B": 1e9}.get(said[-1], 1.0)
    return abs(number(said) - true) <= 0.5001 * unit + 1e-9 * abs(true)


# -- sentences of duckbook.analysis.statements ------------------------------------------------------------------------

FIGURE = r"[−+]?\$?[\d,]+(?:\.\d+)?[kMB]?(?:%| points)?|–"
COMPARISON = (
    r"(?P<what>[^:]+?)(?:: too few to compare (?P<few_one>.+?) with (?P<few_other>.+?) \(n = [\d,]+ and [\d,]+\)"
    rf"|(?: is (?P<verdict>higher|lower) for (?P<one>.+?) than for (?P<other>.+?)"
    rf"|: no difference can be told between (?P<same_one>.+?) and (?P<same_other>.+?)): "
    rf"(?P<of_one>{FIGURE}) for (?P<name_one>.+?), (?P<of_other>{FIGURE}) for (?P<name_other>.+?) "
    rf"\(95% interval of the difference (?P<low>{FIGURE}) to (?P<high>{FIGURE}), "
    r"n = (?P<n_one>[\d,]+) and (?P<n_other>[\d,]+)\))\.?"
)
"""Full match of `Comparison.text`."""

ESTIMATE = rf"(?P<value>{FIGURE}) \(95% interval (?P<low>{FIGURE}) to (?P<high>{FIGURE}), n = (?P<n>[\d,]+)\)"
"""Match of `Estimate.text`."""

RANKING = (
    r"(?P<what>[^:]+?)(?:(?P<nothing>: nothing to compare)|: too few to compare (?P<few>.+?)"
    rf"|(?: is (?P<most>highest|lowest) for (?P<best>[^:]+?)| of (?P<alone>[^:]+?)): {ESTIMATE}"
    r"(?:; too few to take part: (?P<without>.+?))?"
    r"|: which is (?P<rivalled>highest|lowest) cannot be told between (?:any of (?P<any>\d+)|(?P<rivals>[^;]+?))"
    r"(?:; too few to take part: (?P<also_without>.+?))?)\.?"
)
"""Full match of `Ranking.text`."""

Rows = tuple[Any, Any, Any]
"""Numerators, denominators (None: all 1) and clusters (None: each row is one) of a group."""


def ratio_and_spread(rows: Rows, draws: int = 300) -> tuple[float, np.ndarray, int]:
    """Ratio of sums, its bootstrap distribution over clusters, and the number of clusters."""
    return _resampled([rows], draws)[0]


def check_estimate(said: Mapping[str, str], rows: Rows) -> None:
    """Check that the value is the ratio of sums, and that the interval is close to a bootstrap interval."""
    value, spread, n = ratio_and_spread(rows)
    assert close(said["value"], value), f"the value is {value}"
    assert number(said["n"]) == n, f"n is {n}"
    # Wilson's interval has a width even if all rows are equal; a bootstrap interval has none.
    if n >= 30 and isfinite(value) and min(np.sum(rows[0]), abs(n - np.sum(rows[0]))) >= 10:
        half, own = (number(said["high"]) - number(said["low"])) / 2, 1.96 * spread.std()
        step = 0.001 if said["low"].endswith("%") else 0.06
        assert 0.7 * own - step <= half <= 2.2 * own + step, f"half an interval is {own}"


def check_comparison(
    said: Mapping[str, str | None], one: Rows, other: Rows, *, is_absent: bool = False, enough: int = 30
) -> None:
    """Check values, n (clusters) and the verdict of a comparison against a bootstrap.

    If the effect is absent from the shop, a difference can be significant by chance. Some of the many filters of the
    grid exceed the limit slightly, but none by far.
    """
    (first, spread_one, n_one), (second, spread_other, n_other) = _resampled([one, other])
    if said["few_one"]:
        is_few = min(n_one, n_other) < enough or not isfinite(first + second)
        assert is_few or are_rare((one, spread_one), (other, spread_other)), f"there are {n_one} and {n_other}"
        return
    assert close(said["of_one"], first) and close(said["of_other"], second), f"they are {first} and {second}"
    assert (number(said["n_one"]), number(said["n_other"])) == (n_one, n_other), f"n is {n_one} and {n_other}"
    spread = (spread_one - spread_other).std()
    distance = (first - second) / spread if spread else np.inf * np.sign(first - second)
    if said["verdict"] is None:
        assert abs(distance) < 4.0, f"the difference is {distance} standard errors"
    else:
        assert distance * (1 if said["verdict"] == "higher" else -1) > 1.6, (
            f"the difference is {distance} standard errors"
        )
        assert not is_absent or abs(distance) < 3.5, "there is no such pattern in this shop"


def are_rare(*groups: tuple[Rows, np.ndarray]) -> bool:
    """Whether a group would have fewer than five hits, or misses, at the pooled share; each with its bootstrap.

    The effective size from the bootstrap is accurate to about a quarter.
    """
    sums, able = [], []
    for (top, bottom, _), spread in groups:
        tops = np.asarray(top, dtype=float)
        bottoms = np.ones(len(tops)) if bottom is None else np.asarray(bottom, dtype=float)
        if np.any((tops < 0) | (tops > bottoms) | (tops != np.floor(tops))):
            return False
        hits, n = tops.sum(), bottoms.sum()
        sums.append((hits, n))
        able.append(min(n, hits / n * (1 - hits / n) / spread.var()) if 0 < hits < n else len(tops))
    hits, n = np.sum(sums, axis=0)
    return bool(min(hits, n - hits) / n * min(able) < 5 * 1.4)


def check_ranking(said: Mapping[str, str | None], groups: Mapping[str, Rows], enough: int = 30) -> None:
    """Check that the best is the best, and that its rivals are those that a bootstrap cannot distinguish from it."""
    names = sorted(groups)
    found = dict(zip(names, _resampled([groups[name] for name in names]), strict=True))
    able = {name: one for name, one in found.items() if one[2] >= enough and isfinite(one[0])}
    if said["nothing"]:
        assert not groups, f"there are {names}"
        return
    if said["few"]:
        assert len(able) < 2 and listed(said["few"], names) == set(names), f"{sorted(able)} are enough"
        return
    if said["alone"]:
        assert list(groups) == [said["alone"]]
        check_estimate(said, groups[said["alone"]])
        return
    without = said["without"] or said["also_without"]
    assert (listed(without, names) if without else set()) == set(names) - set(able), f"{sorted(able)} are enough"
    sign = -1 if "lowest" in (said["most"], said["rivalled"]) else 1
    best = max(able, key=lambda name: (sign * able[name][0], name))
    if said["any"]:
        assert int(said["any"]) == len(able)
    rivals = set(able) if said["any"] else {said["best"]} if said["best"] else listed(said["rivals"], names)
    assert best in rivals or any(able[name][0] == able[best][0] for name in rivals), f"the best is {best}"
    if said["best"]:
        check_estimate(said, groups[said["best"]])
    for name in set(able) - {best}:
        spread = (able[best][1] - able[name][1]).std()
        distance = abs(able[best][0] - able[name][0]) / spread if spread else np.inf
        if name in rivals:
            is_rare = are_rare(*((groups[one], found[one][1]) for one in (best, name)))
            assert distance < 5.0 or is_rare, f"{best} is {distance} standard errors from {name}"
        else:
            assert distance > 1.7, f"{best} is only {distance} standard errors from {name}"


def listed(text: str, names: list[str]) -> set[str]:
    """Names in a list in words: ``a, b and c``."""
    return {name for name in names if re.search(rf"(^|, | and ){re.escape(name)}(, | and |$)", text)}


def _resampled(groups: list[Rows], draws: int = 300) -> list[tuple[float, np.ndarray, int]]:
    """Ratios of sums with a Poisson bootstrap; a cluster has the same weight in every group."""
    frames = []
    for number_of, (top, bottom, clusters) in enumerate(groups):
        top = np.asarray(top, dtype=float)
        frame = pd.DataFrame({"top": top, "bottom": 1.0 if bottom is None else np.asarray(bottom, dtype=float)})
        frame["cluster"] = (
            [f"{number_of} {row}" for row in range(len(top))] if clusters is None else [str(one) for one in clusters]
        )
        frames.append(frame.groupby("cluster").sum())
    names = sorted(set().union(*(frame.index for frame in frames)))
    place = {name: at for at, name in enumerate(names)}
    weights = np.random.default_rng(1).poisson(1.0, (draws, len(names))) if names else np.ones((draws, 0))
    found = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for frame in frames:
            group_weights = weights[:, [place[name] for name in frame.index]]
            top, bottom = frame["top"].to_numpy(), frame["bottom"].to_numpy()
            value = top.sum() / bottom.sum() if bottom.sum() else nan
            found.append((value, (group_weights @ top) / (group_weights @ bottom), len(frame)))
    return found
