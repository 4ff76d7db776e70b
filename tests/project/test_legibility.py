"""Notebooks read as a story: short cells and lines, no programs within them, no chart that only eyes can read."""

from __future__ import annotations

import ast
import base64
import inspect
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from duckbook.analysis import plotting
from duckbook.runs.chain import read_chain

NOTEBOOKS = {step.notebook.name: step.notebook for step in read_chain()}

LINES, WIDTH, FUNCTION = 25, 120, 10


def cells_of(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text("utf-8"))["cells"]


def code_of(notebook: Path) -> Iterator[tuple[str, str]]:
    for cell in cells_of(notebook):
        if cell["cell_type"] == "code":
            yield cell["id"], "".join(cell["source"])


def sizes_of(source: str) -> list[tuple[float, float]]:
    """Width and height in inches of the charts that a cell asks for."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    charts = [call for call in calls if ast.unparse(call.func) == "plotting.chart"]
    asked = [{keyword.arg: keyword.value for keyword in call.keywords}.get("size") for call in charts]
    usual = inspect.signature(plotting.chart).parameters["size"].default
    return [usual if size is None else ast.literal_eval(size) for size in asked]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_are_short_and_so_are_their_lines(name):
    code = list(code_of(NOTEBOOKS[name]))
    assert [cell for cell, source in code if len(source.splitlines()) > LINES] == []
    assert [(cell, line) for cell, source in code for line in source.splitlines() if len(line) > WIDTH] == []


def test_what_wants_more_than_ten_lines_of_a_function_is_in_the_library():
    long = []
    for name, notebook in NOTEBOOKS.items():
        for cell, source in code_of(notebook):
            if source.startswith("%%"):
                continue
            python = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
            functions = (node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.FunctionDef))
            long += [(name, cell, one.name) for one in functions if one.end_lineno - one.lineno >= FUNCTION]
    assert long == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_chart_has_alternative_text_and_a_table_in_its_section(name):
    silent, alone = [], []
    for section in sections(cells_of(NOTEBOOKS[name])):
        outputs = [(cell["id"], output) for cell in section for output in cell.get("outputs", [])]
        charts = [(cell, output) for cell, output in outputs if "image/png" in output.get("data", {})]
        silent += [cell for cell, chart in charts if not chart["metadata"].get("image/png", {}).get("alt")]
        if not any(is_table(output.get("data", {})) for _, output in outputs):
            alone += [cell for cell, _ in charts]
    assert (silent, alone) == ([], [])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_charts_take_their_colours_from_the_style(name):
    """One of their own is seen on a light page or on a dark one, not on both."""
    own = re.compile(r"""["'](#[0-9A-Fa-f]{6}|white|black|gr[ae]y)["']|cmap=["']""")
    assert [(cell, found[0]) for cell, source in code_of(NOTEBOOKS[name]) if (found := own.search(source))] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_picture_has_two_hundred_pixels_to_an_inch_of_its_chart(name):
    for cell in cells_of(NOTEBOOKS[name]):
        printed = [o["data"]["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        source = "".join(cell["source"])
        # A map of tiles has a size of its own.
        if printed and "plotting.chart(" in source and "maps.tiles(" not in source:
            pixels = [struct.unpack(">II", base64.b64decode(picture)[16:24]) for picture in printed]
            assert [(width / 200, height / 200) for width, height in pixels] == sizes_of(source), cell["id"]


def test_no_text_has_dollars_that_begin_and_end_a_formula():
    """JupyterLab and GitHub set what stands between two of them as mathematics."""
    broken = []
    for name, notebook in NOTEBOOKS.items():
        for cell in cells_of(notebook):
            texts = [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
            if cell["cell_type"] == "markdown":
                texts.append(cell["source"])
            plain = (re.sub(r"`[^`]*`", "", "".join(text)) for text in texts)
            broken += [(name, cell["id"]) for text in plain if text.count("$") > 1]
    assert broken == []


def sections(cells: list[dict]) -> Iterator[list[dict]]:
    """The cells from each heading to the next."""
    section: list[dict] = []
    for cell in cells:
        if cell["cell_type"] == "markdown" and any(line.startswith("## ") for line in cell["source"]):
            yield section
            section = []
        section.append(cell)
    yield section


def is_table(data: dict) -> bool:
    return "<table" in "".join(data.get("text/html", "")) or "| --- |" in "".join(data.get("text/markdown", ""))
