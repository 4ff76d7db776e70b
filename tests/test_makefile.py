"""The front door: `make` alone prints the commands, and make variables reach the command line."""

import re
import subprocess

from duckbook.settings import ROOT

PROMISED = {
    "pipeline", "latest", "lab", "test", "nbval", "docs", "report", "up", "down", "status", "bench", "soak", "clean",
    "format", "lint", "outputs", "rebuild", "science", "stale",
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


def test_make_variables_become_options():
    command = make(
        "-n", "pipeline", "CUSTOMERS=1000", "SEED=7", "AS_OF=2026-06-30", "DIRT=0", "DATA=other", "GENERATE=0"
    )
    options = '--data "other" --customers 1000 --seed 7 --dirt 0 --as-of 2026-06-30 --no-generate'
    assert f"duckbook run {options}" in " ".join(command.split())


def test_a_scheduler_names_the_day_and_who_lands_the_data():
    assert "duckbook latest --as-of 2026-07-04 --no-generate" in " ".join(
        make("-n", "latest", "AS_OF=2026-07-04", "GENERATE=0").split()
    )
    assert 'duckbook forget --data "other" 1234' in " ".join(
        make("-n", "forget", "CUSTOMER=1234", "DATA=other").split()
    )


def test_without_variables_no_option_is_given():
    assert re.search(r"duckbook run *$", make("-n", "pipeline"), flags=re.MULTILINE)


def test_a_dry_run_is_asked_for_by_a_variable():
    assert re.search(r"duckbook prune *$", make("-n", "prune"), flags=re.MULTILINE)
    assert "--dry-run" in make("-n", "prune", "DRY_RUN=1")
    assert "--dry-run" not in make("-n", "prune", "DRY_RUN=0")
