"""The notebooks under nbval: run in the order of the chain, in a data folder of their own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

STORE = pytest.StashKey[tuple[dict[str, str], tempfile.TemporaryDirectory]]()


def pytest_addoption(parser):
    parser.addoption("--science", action="store_true", help="hold the notebooks of data science")
    parser.addoption("--soak", action="store_true", help="run the long versions of the fault and property tests")


def pytest_ignore_collect(collection_path, config):
    """Hold the notebooks of the chain and what reads it, or those of data science; none made for a test."""
    if collection_path.suffix != ".ipynb":
        return None
    from duckbook.ops.committed_outputs import is_canonical, is_science
    from duckbook.runs.chain import read_chain

    is_held = is_science if config.getoption("--science") else is_canonical
    held = {step.notebook for step in read_chain() if is_held(step)}
    return collection_path not in held or None


def pytest_collection_modifyitems(items):
    """Run the notebooks in the order of the chain, in the places that notebooks have among the tests."""
    from duckbook.runs.chain import read_chain

    place = {step.notebook: number for number, step in enumerate(read_chain())}
    ordered = iter(sorted((one for one in items if one.path.suffix == ".ipynb"), key=lambda one: place[one.path]))
    items[:] = [next(ordered) if one.path.suffix == ".ipynb" else one for one in items]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Give the kernel that nbval starts for a notebook the store of the canonical run."""
    if item.path.suffix != ".ipynb":
        return
    if STORE not in item.config.stash:
        item.config.stash[STORE] = _begin_store(science=item.config.getoption("--science"))
    environment, _ = item.config.stash[STORE]
    item.stash[STORE] = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)


def _begin_store(*, science: bool) -> tuple[dict[str, str], tempfile.TemporaryDirectory]:
    """An empty store, which the chain's notebooks fill; for those of science one with an effect that is published."""
    from duckbook.ops.committed_outputs import PLANTED, canonical_environment

    folder = tempfile.TemporaryDirectory(prefix="duckbook-nbval-")
    if not science:
        return canonical_environment(Path(folder.name)), folder
    environment = canonical_environment(Path(folder.name), planted=PLANTED)
    command = [Path(sys.executable).parent / "duckbook", "run", "--until", "publish"]
    subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
    return environment, folder


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
def store_of_the_notebooks(request) -> Path | None:
    """The folder of the default store that the notebooks of the chain have filled in this session, if they have."""
    if request.config.getoption("--science") or STORE not in request.config.stash:
        return None
    _, folder = request.config.stash[STORE]
    return Path(folder.name)


@pytest.fixture(scope="session")
def soak(request) -> bool:
    """Whether the long version of a test is wanted."""
    return request.config.getoption("--soak")
