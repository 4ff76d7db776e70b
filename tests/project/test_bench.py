"""What `make bench` tells of its figures: how they grow, and which of them got slower than the committed ones."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from duckbook.settings import ROOT

sys.path.insert(0, str(ROOT / "tests" / "bench"))
comparing = importlib.import_module("comparing")


def row(name: str, customers: int, seconds: float, ratio: float | None = None) -> dict:
    return {"name": name, "size": f"{customers:,} customers", "seconds": seconds, "ratio": ratio}


def test_growth_is_the_power_between_the_smallest_and_the_largest_size():
    rows = [row("even", 10_000, 2), row("even", 1_000_000, 200), row("even", 100_000, 99), row("once", 10_000, 5)]
    rows += [row("steep", 10_000, 1), row("steep", 100_000, 100)]
    assert comparing.exponents(rows) == pytest.approx({"even": 1.0, "steep": 2.0})


def test_a_baseline_keeps_the_figures_that_were_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "BASELINE", tmp_path / "baseline.json")
    assert comparing.baseline() == {}
    comparing.commit([row("one", 1_000, 3, 0.5), row("two", 1_000, 4, 2.0), row("a reference", 1_000, 2)])
    comparing.commit([row("one", 1_000, 9, 0.7)])
    assert comparing.baseline() == {("one", "1,000 customers"): 0.7, ("two", "1,000 customers"): 2.0}


def test_the_chart_shows_each_ratio_and_its_baseline(tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "BASELINE", tmp_path / "baseline.json")
    rows = [row("one", 1_000, 3, 0.5), row("two", 1_000, 4, 2.0), row("a reference", 1_000, 2)]
    comparing.commit(rows[:1])
    comparing.draw(rows, tmp_path / "figures.svg")
    drawn = (tmp_path / "figures.svg").read_text("utf-8")
    assert [text in drawn for text in ("one, 1,000 customers", "two, 1,000 customers", "a reference,")] == [
        True, True, False,
    ]  # fmt: skip


def test_the_tutorial_project_is_measured_only_where_a_clone_of_it_is_named():
    program = [sys.executable, str(ROOT / "tests" / "bench" / "run.py"), "tutorial"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--tutorial names a clone of it" in done.stderr
