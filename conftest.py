"""The notebooks under nbval: one worker runs them in the order of the chain, in a data folder of their own."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parent / "notebooks"


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the long versions of the fault and property tests")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":
            # A notebook needs what those before it made, so no two workers may share them out.
            item.add_marker(pytest.mark.xdist_group("notebooks"))


@pytest.fixture(scope="session")
def soak(request) -> bool:
    """Whether the long version of a test is wanted."""
    return request.config.getoption("--soak")
