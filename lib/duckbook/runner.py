"""One run of the chain from its first check to its page.

The order matters: everything that can be wrong is looked at before any work; the run is recorded before the servers
start, so that their failure is told too; and the first kernel starts while the servers do.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from duckbook import chain, runs
from duckbook.errors import DuckbookError
from duckbook.lock import one_writer
from duckbook.processes import write_private
from duckbook.redaction import Redactor
from duckbook.runs import Run
from duckbook.settings import ROOT, Settings
from duckbook.supervisor import Listener, Supervisor
from duckbook.witness import Witness

PACKAGES = ("duckbook", "duckdb", "dbt-core", "dbt-duckdb", "papermill", "jupysql", "pandas", "ipykernel")


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Parameters
    ----------
    as_of
        Last day of data; None: the newest landed.
    next_day
        Take the day after the newest landed instead.
    values
        Parameters of the run that were given, by name.
    extra
        Parameters for whichever notebooks have them.
    first, last, only, generate, leave_out
        Which steps, see `chain.select`.
    """

    as_of: date | None = None
    next_day: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None
    only: str | None = None
    generate: bool = True
    leave_out: tuple[str, ...] = ()


def run(settings: Settings, request: Request, listener: Listener, chain_file: Path = chain.CHAIN_FILE) -> Run:
    """Do a run of the chain and leave its archive.

    Returns
    -------
    Run
        The ended run; its record says whether it succeeded.

    Raises
    ------
    DuckbookError
        Something was wrong before any work; there is no run then.
    KeyboardInterrupt
        The run was stopped; its record says interrupted.
    """
    from duckbook import servers

    every = chain.read_chain(chain_file)
    steps = chain.select(
        every,
        first=request.first,
        last=request.last,
        only=request.only,
        generate=request.generate,
        leave_out=request.leave_out,
    )
    given = request.values | ({"as_of": request.as_of.isoformat()} if request.as_of else {})
    parameters = chain.check(steps, given, request.extra)
    servers.preflight(settings)
    with one_writer(settings, "a run of the chain"):
        runs.settle(settings.runs)
        record = Run.begin(
            settings.runs,
            target=settings.target,
            as_of=given.get("as_of"),
            parameters=_parameters(settings, given, request),
            steps=[(step.name, step.notebook.name) for step in steps],
            store=_store(settings),
            git=_git(),
            versions=_versions(),
        )
        listener.run_started(steps)
        _carry_out(settings, request, record, steps, parameters, listener)
    return record


def _carry_out(settings, request, record: Run, steps, parameters, listener) -> None:
    from duckbook import kernels, redaction, servers

    variables = {
        "DUCKBOOK_DATA": str(settings.data),
        "DUCKBOOK_RUNS": str(settings.runs),
        "DUCKBOOK_TARGET": settings.target,
        "DUCKBOOK_RUN_ID": record.record["run_id"],
        "DUCKBOOK_RUN_DIR": str(record.folder),
    }
    environment = kernels.environment(variables, settings.data / "ipython")
    witness = Witness(record.folder)
    mother = _zygote(steps, environment)
    archivist = _Archivist(environment, record, steps)
    supervisor = Supervisor(
        record,
        steps,
        environment,
        secrets=redaction.secrets_of(settings),
        listener=listener,
        witness=witness,
        zygote=mother,
        after_step=archivist.after_step,
        parameters=parameters,
    )
    try:
        supervisor.warm()
        if any(step.group != "explore" for step in steps):
            endpoints = servers.up(settings)
            supervisor.secrets[:] = redaction.secrets_of(settings, endpoints)
            as_of = _as_of(settings, endpoints, request)
            record.record["as_of"] = as_of.isoformat() if as_of else None
            for step in steps:
                if as_of and "as_of" in step.parameters:
                    parameters[step.name]["as_of"] = as_of.isoformat()
        failed = supervisor.carry_out()
        if failed is None:
            record.end(runs.SUCCEEDED)
        else:
            record.end(runs.FAILED, f"{failed}: {record.step(failed)['error']}")
    except KeyboardInterrupt:
        record.end(runs.INTERRUPTED, "It was stopped by a signal.")
        raise
    except DuckbookError as error:
        record.end(runs.FAILED, redaction.Redactor(supervisor.secrets).text(str(error)))
    except BaseException as error:
        record.end(runs.FAILED, redaction.Redactor(supervisor.secrets).text(f"{type(error).__name__}: {error}"))
        raise
    finally:
        supervisor.discard()
        if mother is not None:
            mother.close()
        archivist.end(redaction.Redactor(supervisor.secrets))
        witness.dismiss()
        _write_pages(settings, record)


def _zygote(steps: list[chain.Step], environment: dict[str, str]) -> Any:
    """Where the kernels of a run are split off: it pays once what it costs each to import."""
    from duckbook import kernels, zygote

    if not zygote.SUPPORTED or len(steps) < 2:
        return None
    urgent = [*kernels.COMMON_IMPORTS, *steps[0].imports]
    later = [name for step in steps[1:] for name in step.imports]
    return zygote.Zygote(dict.fromkeys([*urgent, *later]), len(set(urgent)), environment)


def _write_pages(settings: Settings, record: Run) -> None:
    """A page that cannot be written is told, and takes nothing from what the run has done."""
    from duckbook import page

    try:
        page.write_run(record.folder)
        page.write_index(settings.runs)
    except Exception as error:
        record.record["page_error"] = f"{type(error).__name__}: {error}"
        record.save()


class _Archivist:
    """Brings into the archive, while later steps run, what a step leaves: its notebook as HTML, and dbt's artifacts.

    dbt's documentation needs the warehouse, so it is made when the last step that writes to it, or reads it, has ended;
    what follows reads the published marts. It is made by a process of its own, because dbt takes seconds to import.
    """

    def __init__(self, environment: dict[str, str], record: Run, steps: list[chain.Step]):
        self.environment, self.record = environment, record
        self._transforms = [step.name for step in steps if step.group == "transform"]
        self._last = next((s.name for s in reversed(steps) if s.group in {"transform", "publish"}), None)
        self._dbt: subprocess.Popen | None = None

    def after_step(self, name: str) -> None:
        """A step ended."""
        from duckbook import page

        if name == self._last:
            self._archive_dbt()
        step = self.record.step(name)
        if (self.record.folder / step["notebook"]).exists():
            page.write_step(self.record.folder, step["notebook"])

    def _archive_dbt(self) -> None:
        if self._dbt is None and any(self.record.step(name)["started_at"] for name in self._transforms):
            code = (
                "import pathlib, sys; from duckbook import settings, transform; "
                "transform.archive(settings.settings(), pathlib.Path(sys.argv[1]))"
            )
            self._dbt = subprocess.Popen(
                [sys.executable, "-c", code, str(self.record.folder)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def end(self, redactor: Redactor) -> None:
        """Wait for what is under way; a stopped run waits for nothing and leaves nothing running."""
        if self.record.record["status"] == runs.INTERRUPTED:
            if self._dbt is not None:
                self._dbt.kill()
                self._dbt.wait()
            return
        self._archive_dbt()
        if self._dbt is None:
            return
        _, said = self._dbt.communicate(timeout=120)
        if self._dbt.returncode:
            lines = said.strip().splitlines()
            self.record.record["dbt_archive"] = redactor.text(lines[-1]) if lines else "failed"
            self.record.save()
        for file in (self.record.folder / "dbt").glob("*"):
            write_private(file, redactor.text(file.read_text("utf-8")))
        if redactor.hits:
            self.record.end(runs.FAILED, "A secret was on its way into dbt's artifacts and was replaced by ***.")


def _as_of(settings: Settings, endpoints, request: Request) -> date | None:
    """The as-of date of the run; None where the data tells it, because others landed them."""
    if not request.generate:
        return request.as_of
    from duckbook import landing

    if request.next_day:
        return request.as_of or landing.next_as_of(settings, endpoints)
    return landing.resolve_as_of(settings, endpoints, request.as_of)


def _parameters(settings: Settings, given: dict, request: Request) -> dict[str, Any]:
    chosen = {"customers": settings.customers, "seed": settings.seed, "dirt": settings.dirt}
    generated = chosen | {"first_as_of": settings.first_as_of.isoformat()} if request.generate else {}
    return generated | {"generate": request.generate} | given | request.extra


def _store(settings: Settings) -> str:
    """The store's folder as a person names it: from the checkout where it stands in it."""
    return str(settings.data.relative_to(ROOT) if settings.data.is_relative_to(ROOT) else settings.data)


def _git() -> dict[str, Any]:
    """The commit of the checkout, and whether files of it were changed; nulls where it is none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}


def _versions() -> dict[str, str]:
    names = {"dbt-core": "dbt"}
    return {"python": platform.python_version()} | {names.get(name, name): version(name) for name in PACKAGES}


def resume_command(record: dict[str, Any]) -> str:
    """What to run next after a run that did not succeed."""
    broken = [step["name"] for step in record["steps"] if step["status"] in {runs.FAILED, runs.INTERRUPTED}]
    data = os.environ.get("DUCKBOOK_DATA")
    again = f"make pipeline FROM={broken[0]}" if broken else "make pipeline"
    if record["as_of"]:
        again += f" AS_OF={record['as_of']}"
    return again + (f" DATA={data}" if data else "")
