"""The page docs/api.md, written from the docstrings: `make api`."""

from __future__ import annotations

import re

from duckbook.settings import ROOT
from griffe import GriffeLoader, Parser
from griffe2md import load_config, render_object_docs

MODULES = ("duckbook.analysis.notebook", "duckbook.analysis.datasets", "duckbook.analysis.lifetime")

HEAD = "# What notebooks and programs import\n\nWritten from the docstrings by `make api`.\n"


def text() -> str:
    """The page as it should be."""
    loader = GriffeLoader(search_paths=[ROOT / "lib"], docstring_parser=Parser.numpy)
    loader.load("duckbook")
    pages = [render_object_docs(loader.modules_collection[name], load_config()) for name in MODULES]
    # Links within the page, whose anchors GitHub does not know.
    return HEAD + "\n" + "\n\n".join(re.sub(r"\[([^]]+)\]\(#[^)]*\)", r"\1", page).strip() for page in pages) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(text(), "utf-8")
