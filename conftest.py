"""Run the notebooks with nbval, in the order of the chain and in a temporary data folder."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

DATA_FOLDER = pytest.StashKey[tuple[dict[str, str], tempfile.TemporaryDirectory]]()


def pytest_addoption(parser):
    parser.addoption("--science", action="store_true", help="check the data science notebooks")
    parser.addoption("--soak", action="store_true", help="run the long versions of the fault and property tests")


def pytest_ignore_collect(collection_path, config):
    """Collect only the notebooks of the chain, or those of data science."""
    if collection_path.suffix != ".ipynb":
        return None
    from duckbook.ops.committed_outputs import is_canonical, is_science
    from duckbook.runs.chain import read_chain

    is_checked = is_science if config.getoption("--science") else is_canonical
    notebooks = {step.notebook for step in read_chain() if is_checked(step)}
    return collection_path not in notebooks or None


def pytest_collection_modifyitems(items):
    """Sort the notebooks in the order of the chain; the other tests keep their places."""
    from duckbook.runs.chain import read_chain

    place = {step.notebook: number for number, step in enumerate(read_chain())}
    notebooks = [item for item in items if item.path.suffix == ".ipynb"]
    ordered = iter(sorted(notebooks, key=lambda item: place[item.path]))
    items[:] = [next(ordered) if item.path.suffix == ".ipynb" else item for item in items]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Set the environment of the canonical run for the kernel that nbval starts."""
    if item.path.suffix != ".ipynb":
        return
    if DATA_FOLDER not in item.config.stash:
        item.config.stash[DATA_FOLDER] = _make_data_folder(science=item.config.getoption("--science"))
    environment, _ = item.config.stash[DATA_FOLDER]
    item.stash[DATA_FOLDER] = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)


def _make_data_folder(*, science: bool) -> tuple[dict[str, str], tempfile.TemporaryDirectory]:
    """Make an empty data folder for the chain's notebooks; for data science, a published one with a planted effect."""
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
    for name, value in item.stash.get(DATA_FOLDER, {}).items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_unconfigure(config):
    if DATA_FOLDER in config.stash:
        environment, folder = config.stash[DATA_FOLDER]
        duckbook = Path(sys.executable).parent / "duckbook"
        subprocess.run([duckbook, "down"], env=os.environ | environment, check=False, capture_output=True)
        folder.cleanup()


@pytest.fixture(scope="session")
def data_of_the_notebooks(request) -> Path | None:
    """The data folder that the notebooks of the chain have filled in this session, or None."""
    if request.config.getoption("--science") or DATA_FOLDER not in request.config.stash:
        return None
    _, folder = request.config.stash[DATA_FOLDER]
    return Path(folder.name)


@pytest.fixture(scope="session")
def soak(request) -> bool:
    """Whether to run the long version of a test."""
    return request.config.getoption("--soak")
