"""Where the tests find a Chromium: Debian's, a Chrome, or the one that `playwright install chromium` fetched."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from playwright.sync_api import sync_playwright


@cache
def chromium_path() -> str | None:
    """The path of a Chromium on this machine, or None."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None
