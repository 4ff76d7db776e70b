"""Break the dbt project one place at a time, and count how often its own tests notice: `make mutate`.

Each mutant of mutants.yml changes one text in a copy of ``dbt/``. What stands behind the change is built anew on the
small shop of ``tests/shop.py``, with data tests and unit tests, until something fails: then the mutant is caught, by a
test, by a contract or by the database. A finding that only warns catches nothing. The run ends with status 1 when
fewer than 95 % are caught, and says of every survivor whether it changed any value of the marts at all.

The project that is not broken must pass first; a mutant whose text stands not once in its file stops the run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from duckbook.backends import warehouse
from duckbook.settings import Settings
from duckbook.transform import dbt_runner

TESTS = Path(__file__).resolve().parents[1]
ENOUGH = 0.95
"""The share of mutants that must be caught."""

FAILED = ("fail", "error", "runtime error")


@dataclass(frozen=True)
class Mutant:
    """One break: `old`, which stands once in `file`, becomes `new`; `select` names the models behind which to build."""

    name: str
    file: str
    old: str
    new: str
    select: str = ""

    @property
    def layer(self) -> str:
        """staging, history, intermediate or marts; a macro belongs to the layer that it is tried in."""
        part, name = Path(self.file).parts[1], Path(self.file).stem
        if name.endswith(("history", "_versions")):
            return "history"
        if part in ("staging", "intermediate", "marts"):
            return part
        return "staging" if self.selected[0].startswith("base_") else "intermediate"

    @property
    def selected(self) -> list[str]:
        """The models that change: that of the file, or those that the mutant names."""
        return self.select.split() or [Path(self.file).stem]

    def broken(self, text: str) -> str:
        """The file's text with the break in it."""
        if text.count(self.old) != 1:
            sys.exit(
                f"Mutant '{self.name}': its text stands {text.count(self.old)} times in dbt/{self.file}, not once."
            )
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: who caught it, or None, and whether it changed a value where nobody did."""

    caught_by: str | None
    changed: bool
    seconds: float


class Laboratory:
    """A copy of the project and the shop's warehouse, as they are when nothing is broken."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "dbt"
        self.sound = folder / "sound.duckdb"
        self.shop = Settings(data=folder / "data", _env_file=None)
        shutil.copytree(dbt_runner.PROJECT, self.project, ignore=shutil.ignore_patterns("target", "logs"))
        self._fill()

    def _fill(self) -> None:
        sys.path.insert(0, str(TESTS))
        from raw_rows import Raw
        from shop import batches

        with warehouse.open_warehouse(self.shop) as connection:
            raw = Raw(connection)
            for table, rows, on in batches():
                raw.land(table, rows, on)
            raw.unreadable("orders", '{"order_id": ')

    def build(self, *selection: str) -> Any:
        """Build what is selected, with all that stands behind it, until something fails."""
        arguments = ["build", "--fail-fast", "--no-write-json"]
        if selection:
            arguments += ["--select", *(f"{name}+" for name in selection)]
        return dbt_runner.invoke(self.shop, arguments, self.project)

    def keep(self) -> None:
        """Remember the warehouse as the sound one."""
        shutil.copyfile(self.shop.warehouse_path, self.sound)
        self.values = self.digests()

    def digests(self) -> dict[str, str]:
        """Relation → a digest of its rows, whatever their order."""
        query = "select bit_xor(hash(t)), count(*) from {} as t"
        with warehouse.open_warehouse(self.shop, read_only=True) as connection:
            relations = connection.execute(
                "select table_schema || '.' || table_name from information_schema.tables "
                "where table_schema in ('ecom_staging', 'ecom_intermediate', 'ecom_marts') "
                "and table_name <> '_passed_tests'"
            ).fetchall()
            return {name: str(connection.execute(query.format(name)).fetchone()) for (name,) in relations}

    def try_out(self, mutant: Mutant) -> Verdict:
        """Break, build, and put everything back."""
        started = time.perf_counter()
        file = self.project / mutant.file
        text = file.read_text("utf-8")
        file.write_text(mutant.broken(text), "utf-8")
        try:
            catcher = caught_by(self.build(*mutant.selected))
            changed = catcher is not None or self.digests() != self.values
        finally:
            file.write_text(text, "utf-8")
            shutil.copyfile(self.sound, self.shop.warehouse_path)
        return Verdict(catcher, changed, time.perf_counter() - started)


def caught_by(outcome: Any) -> str | None:
    """The first thing that failed in a run of dbt, None where nothing did."""
    results = getattr(outcome.result, "results", None) or ()
    for result in results:
        if str(result.status) in FAILED:
            kind = (
                str(result.node.resource_type).replace("unit_test", "unit test").replace("model", "contract or SQL of")
            )
            return f"{kind} {result.node.name}"
    return None if outcome.success else f"dbt: {outcome.exception}".splitlines()[0]


def wanted(patterns: list[str]) -> Iterator[Mutant]:
    """The mutants whose name or file holds one of the patterns; all where there is none."""
    for record in yaml.safe_load((Path(__file__).parent / "mutants.yml").read_text("utf-8")):
        mutant = Mutant(**record)
        if not patterns or any(pattern in mutant.name or pattern in mutant.file for pattern in patterns):
            yield mutant


def main() -> int:
    """Try the mutants out, print the table, and say by the exit status whether enough were caught."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pattern", nargs="*", help="only mutants whose name or file holds one of these texts")
    mutants = list(wanted(parser.parse_args().pattern))
    with tempfile.TemporaryDirectory(prefix="duckbook-mutate-") as folder:
        laboratory = Laboratory(Path(folder))
        if flaw := caught_by(laboratory.build()):
            sys.exit(f"The project that is not broken fails: {flaw}. Mend that first.")
        laboratory.keep()
        print(f"{'layer':<13}{'seconds':>8}  {'mutant':<72}caught by", flush=True)
        verdicts = []
        for mutant in mutants:
            verdict = laboratory.try_out(mutant)
            verdicts.append(verdict)
            told = verdict.caught_by or (
                "SURVIVED" if verdict.changed else "SURVIVED, and changed no value of this shop"
            )
            print(f"{mutant.layer:<13}{verdict.seconds:>8.1f}  {mutant.name:<72}{told}", flush=True)
    if not verdicts:
        sys.exit("No mutant's name or file holds such a text.")
    caught = sum(verdict.caught_by is not None for verdict in verdicts)
    print(f"\n{caught} of {len(verdicts)} mutants caught ({caught / len(verdicts):.1%}); {ENOUGH:.0%} are asked.")
    return 0 if caught >= ENOUGH * len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
