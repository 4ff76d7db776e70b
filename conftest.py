"""The notebooks under nbval: run in the order of the chain, in a data folder of their own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

STORE = pytest.StashKey[tuple[dict[str, str], tempfile.TemporaryDirectory]]()


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the long versions of the fault and property tests")


def pytest_ignore_collect(collection_path):
    """Hold the chain's notebooks alone: not those made for a test, nor those that want a larger store."""
    if collection_path.suffix != ".ipynb":
        return None
    from duckbook.chain import read_chain
    from duckbook.outputs import is_canonical

    return collection_path not in {step.notebook for step in read_chain() if is_canonical(step)} or None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Give the kernel that nbval starts for a notebook the store of the canonical run."""
    if item.path.suffix != ".ipynb":
        return
    if STORE not in item.config.stash:
        from duckbook.outputs import canonical_environment

        folder = tempfile.TemporaryDirectory(prefix="duckbook-nbval-")
        item.config.stash[STORE] = (canonical_environment(Path(folder.name)), folder)
    environment, _ = item.config.stash[STORE]
    item.stash[STORE] = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    for name, value in item.stash.get(STORE, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_unconfigure(config):
    if STORE in config.stash:
        environment, folder = config.stash[STORE]
        duckbook = Path(sys.executable).parent / "duckbook"
        subprocess.run([duckbook, "down"], env=os.environ | environment, check=False, capture_output=True)
        folder.cleanup()


@pytest.fixture(scope="session")
def soak(request) -> bool:
    """Whether the long version of a test is wanted."""
    return request.config.getoption("--soak")
