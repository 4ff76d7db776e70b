"""Make the README's pictures: a section of a committed notebook, and the page of the newest run.

`python tests/readme_pictures.py`, after `make pipeline` at the default size. It needs a Chromium.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

import nbformat
from browsers import chromium_path
from duckbook.settings import ROOT, settings
from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

IMAGES = ROOT / "docs" / "images"

NOTEBOOK, SECTION = ROOT / "notebooks" / "pipeline" / "06_marts.ipynb", "## Do customers come back?"

WIDTH, RUN_PAGE_HEIGHT = 1100, 1062
"""Size of the pictures in CSS pixels; GitHub shows a README at most this wide."""

COLOURS = 128
"""Colours of the palette, which makes a picture a third as large."""


def section(path: Path, heading: str) -> nbformat.NotebookNode:
    """Return a notebook with only the cells from a heading to the next."""
    notebook = nbformat.read(path, as_version=4)
    headings = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "markdown"]
    first = next(n for n in headings if notebook.cells[n].source.startswith(heading))
    end = next((n for n in headings if n > first), len(notebook.cells))
    notebook.cells = notebook.cells[first:end]
    return notebook


def photograph(browser: Browser, page_file: Path, picture: Path, height: int | None = None) -> None:
    """Write a picture of a page, of its first `height` pixels or of all of it."""
    page = browser.new_page(viewport={"width": WIDTH, "height": height or 400}, device_scale_factor=1.5)
    # The notebook's page asks for scripts that it does not need.
    page.route("http*://**", lambda route: route.abort())
    page.goto(page_file.as_uri(), wait_until="load")
    image = Image.open(BytesIO(page.screenshot(full_page=height is None)))
    image.convert("RGB").quantize(COLOURS).save(picture, optimize=True)
    page.close()


def main() -> None:
    """Make both pictures."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=["--no-sandbox"])
        html, _ = HTMLExporter(template_name="lab").from_notebook_node(section(NOTEBOOK, SECTION))
        (page_file := Path(folder) / "notebook.html").write_text(html, "utf-8")
        photograph(browser, page_file, IMAGES / "notebook.png")
        photograph(browser, settings().runs / "latest" / "index.html", IMAGES / "run-page.png", RUN_PAGE_HEIGHT)
        browser.close()


if __name__ == "__main__":
    main()
