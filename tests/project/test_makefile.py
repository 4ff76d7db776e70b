"""The front door: `make` alone prints the commands, and make variables reach the command line."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from duckbook.settings import ROOT

PROMISED = {
    "pipeline", "latest", "lab", "test", "nbval", "docs", "report", "up", "down", "status", "bench", "soak", "clean",
    "api", "format", "lint", "outputs", "rebuild", "science", "stale",
    "bi", "bi-env", "forget", "backup", "restore", "resume", "list", "compare", "rollback", "prune", "check-landing",
}  # fmt: skip


def make(*arguments: str) -> str:
    done = subprocess.run(["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_make_alone_prints_every_command_with_a_line_each():
    shown = dict(re.findall(r"^  make ([a-z-]+) +(.+)$", make(), flags=re.MULTILINE))
    assert set(shown) >= PROMISED
    assert all(len(line) < 100 for line in shown.values())


def test_the_printed_lines_come_from_the_makefile_itself():
    comments = dict(re.findall(r"^([a-z-]+):.*## (.+)$", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))
    assert dict(re.findall(r"^  make ([a-z-]+) +(.+)$", make(), flags=re.MULTILINE)) == comments


@pytest.fixture
def said(tmp_path) -> Callable[..., list[list[str]]]:
    """What a command of make gives to duckbook: a checkout with a program in its place that writes down its words."""
    shutil.copy(ROOT / "Makefile", tmp_path / "Makefile")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("requirements.lock", "requirements-setup.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    for name in (".ready", "bin/uv"):
        (tmp_path / ".venv" / name).touch()
    program = f"#!{sys.executable}\nimport json, sys\nopen('said', 'a').write(json.dumps(sys.argv[1:]) + chr(10))\n"
    (binaries / "duckbook").write_text(program)
    (binaries / "duckbook").chmod(0o755)

    def run(*arguments: str) -> list[list[str]]:
        (tmp_path / "said").unlink(missing_ok=True)
        done = subprocess.run(["make", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in (tmp_path / "said").read_text().splitlines()]

    return run


def test_make_variables_become_options(said):
    given = {"CUSTOMERS": "1000", "SEED": "7", "AS_OF": "2026-06-30", "DIRT": "0", "DATA": "an other", "GENERATE": "0"}
    (words,) = said("pipeline", *(f"{name}={value}" for name, value in given.items()))
    assert words == (
        "run --data|an other|--customers|1000|--seed|7|--dirt|0|--as-of|2026-06-30|--no-generate".replace(
            " --", "|--", 1
        )
    ).split("|")


def test_a_scheduler_names_the_day_and_who_lands_the_data(said):
    assert said("latest", "AS_OF=2026-07-04", "GENERATE=0") == [["latest", "--as-of", "2026-07-04", "--no-generate"]]
    assert said("forget", "CUSTOMER=12 34", "DATA=other") == [["forget", "--data", "other", "12 34"]]
    assert said("parity", "B=motherduck") == [["parity", "duckdb", "motherduck"]]
    assert said("backup", "BACKUP=my copies/of it") == [["backup", "my copies/of it"]]


@pytest.mark.parametrize("value", ["1; touch harm", "$(touch harm)", "`touch harm`", '"; touch harm; "', "'*"])
def test_no_shell_reads_a_value(said, tmp_path, value):
    escaped = value.replace("$", "$$")
    assert said("pipeline", f"CUSTOMERS={escaped}") == [["run", "--customers", value]]
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        (("pipeline", "customers=1000"), "customers"),
        (("pipeline", "CUSTOMER=1000"), "CUSTOMER"),
        (("latest", "CUSTOMERS=5"), "CUSTOMERS"),
        (("up", "PORT=1"), "PORT"),
    ],
)
def test_a_variable_that_a_command_does_not_know_is_refused(words, unknown):
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"make {words[0]} knows no variable {unknown}; it knows DATA TARGET" in done.stderr


def test_without_variables_no_option_is_given():
    assert re.search(r"duckbook run *$", make("-n", "pipeline"), flags=re.MULTILINE)


def test_a_dry_run_is_asked_for_by_a_variable():
    assert re.search(r"duckbook prune *$", make("-n", "prune"), flags=re.MULTILINE)
    assert "--dry-run" in make("-n", "prune", "DRY_RUN=1")
    assert "--dry-run" not in make("-n", "prune", "DRY_RUN=0")


def test_all_runs_are_listed_by_a_variable():
    assert re.search(r"duckbook list *$", make("-n", "list"), flags=re.MULTILINE)
    assert "--all" in make("-n", "list", "ALL=1")
