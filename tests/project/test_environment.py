"""pyproject, the locks, environment.yml and what is installed tell one story."""

import re
import tomllib
from importlib import metadata

import pytest
import yaml
from duckbook.settings import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-science.lock", "requirements-bench.lock")
SETUP = "requirements-setup.lock"


def entries(name: str) -> list[list[str]]:
    """A lock's entries, each a pin and its hashes."""
    return [entry.split(" \\\n    ") for entry in re.split(r"\n(?! )", (ROOT / name).read_text("utf-8").strip())]


def locked(name: str) -> list[Requirement]:
    return [Requirement(pin) for pin, *_ in entries(name)]


def wanted() -> dict[str, list[Requirement]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    runtime = [Requirement(text) for text in project["project"]["dependencies"]]
    development = [Requirement(text) for text in project["dependency-groups"]["dev"]]
    science = [Requirement(text) for text in project["dependency-groups"]["science"]]
    bench = [Requirement(text) for text in project["dependency-groups"]["bench"]]
    setup = [Requirement(text) for text in project["dependency-groups"]["setup"]]
    every = (runtime, runtime + development, runtime + science, runtime + bench)
    return dict(zip(LOCKS, every, strict=True)) | {SETUP: setup}


@pytest.mark.parametrize("lock", (*LOCKS, SETUP))
def test_a_lock_holds_pins_with_their_hashes_and_no_address(lock):
    pin = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+( ; .+)?")
    content = re.compile(r"--hash=sha256:[0-9a-f]{64}")
    found = entries(lock)
    assert [entry[0] for entry in found if not pin.fullmatch(entry[0])] == []
    assert [pin for pin, *hashes in found if not (hashes and all(map(content.fullmatch, hashes)))] == []


def test_set_up_installs_nothing_but_what_a_lock_names_by_its_content():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    installs = [
        line for line in makefile.splitlines() if re.search(r"\bpip install\b", line) and "install the" not in line
    ]
    assert len(installs) == 1 + len(LOCKS) + 1
    (ours,) = (line for line in installs if "--require-hashes" not in line)
    assert "--no-deps --no-build-isolation --editable ." in ours
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    assert set(backend) <= set(map(str, wanted()[SETUP]))


@pytest.mark.parametrize("lock", (*LOCKS, SETUP))
def test_every_dependency_of_pyproject_is_locked_within_its_range(lock):
    pins = {canonicalize_name(pin.name): pin for pin in locked(lock)}
    for requirement in wanted()[lock]:
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in {lock}: run `make lock`"
        (version,) = (specifier.version for specifier in pin.specifier)
        assert requirement.specifier.contains(version), f"{requirement} and {pin} disagree: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_the_other_locks_hold_the_same_pins_as_the_runtime_lock(lock):
    more = {str(pin.specifier) + canonicalize_name(pin.name) for pin in locked(lock)}
    assert {str(pin.specifier) + canonicalize_name(pin.name) for pin in locked(LOCKS[0])} <= more


@pytest.mark.parametrize("lock", (*LOCKS[2:], SETUP))
def test_what_two_locks_hold_they_hold_alike(lock):
    development, other = ({canonicalize_name(p.name): str(p.specifier) for p in locked(n)} for n in (LOCKS[1], lock))
    assert {n: v for n, v in other.items() if n in development} == {n: v for n, v in development.items() if n in other}


def test_what_is_installed_is_what_the_lock_says():
    here = default_environment()
    pins = [pin for pin in locked(LOCKS[1]) if pin.marker is None or pin.marker.evaluate(here)]
    found = {pin.name: metadata.version(pin.name) for pin in pins}
    assert found == {pin.name: next(iter(pin.specifier)).version for pin in pins}


def test_environment_yml_takes_python_from_conda_forge_and_the_rest_from_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert environment["channels"][0] == "conda-forge"
    *packages, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements-dev.lock"]}
    python = next(Requirement(text) for text in packages if text.startswith("python"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lowest = project["requires-python"].removeprefix(">=")
    assert python.specifier.contains(lowest)
    assert not python.specifier.contains("3.10")
