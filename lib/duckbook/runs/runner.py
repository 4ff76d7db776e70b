"""One run of the chain from its first check to its page.

The order matters: everything that can be wrong is looked at before any work; the run is recorded before the servers
start, so that their failure is told too; and the first kernel starts while the servers do.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from duckbook import redaction
from duckbook.backends import disk_space, lock, server_state
from duckbook.backends.lock import one_writer
from duckbook.backends.signals import unstoppable
from duckbook.errors import ChainError, DuckbookError, reason
from duckbook.runs import chain, codebase, kernels, notification, prerequisites, provenance, run_archive
from duckbook.runs.archive_writer import Archivist
from duckbook.runs.request import Request
from duckbook.runs.run_archive import Run
from duckbook.runs.supervisor import Listener, Supervisor
from duckbook.runs.watchdog import Witness
from duckbook.settings import Settings


def run(
    settings: Settings,
    request: Request,
    listener: Listener,
    chain_file: Path = chain.CHAIN_FILE,
    checks: Sequence[Callable[[Settings], object]] = (),
) -> Run:
    """Do a run of the chain and leave its archive.

    Parameters
    ----------
    checks
        Further checks of the settings before any work; each raises a `DuckbookError`.

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
    every = chain.read_chain(chain_file)
    steps = chain.select(
        every,
        first=request.first,
        last=request.last,
        only=request.only,
        generate=request.generate,
        leave_out=request.leave_out,
        always=("bi",) if settings.bi else (),
    )
    with notification.refusals(settings):
        _refuse_early(settings)
    with kernels.mother(settings, steps) as mother:
        parameters = chain.check(steps, request.given, request.extra)
        with server_state.on_error(settings) as begun:
            with notification.refusals(settings):
                _preflight(settings, checks)
                held = prerequisites.check(settings, request, steps)
            with one_writer(settings, "a run of the chain") as lease:
                run_archive.settle(settings.runs)
                clean = redaction.Redactor(redaction.secrets_of(settings))
                record = Run.begin(
                    settings.runs,
                    target=settings.target,
                    as_of=held.isoformat() if held else request.given.get("as_of"),
                    parameters=clean.scrub(request.parameters(settings, _generates(steps))),
                    steps=[(step.name, step.notebook.name) for step in steps],
                    request=clean.scrub(request.as_record),
                    kind=request.kind,
                    store=provenance.store(settings),
                    git=provenance.git(),
                    versions=provenance.versions(),
                    code=codebase.checksums(chain_file),
                    readers=provenance.readers(settings),
                )
                begun.set()  # Whoever resumes the run finds the servers up.
                listener.run_started(steps)
                _carry_out(settings, request, record, steps, parameters, listener, mother, lease)
    return record


def resume(
    settings: Settings,
    run_id: str,
    listener: Listener,
    chain_file: Path = chain.CHAIN_FILE,
    checks: Sequence[Callable[[Settings], object]] = (),
) -> Run:
    """Go on with a run that did not succeed, with the same parameters.

    It goes on from the first step that did not succeed, or from an earlier one whose notebook, library code or models
    have changed since; the record says from which and why (``resumed``).

    Raises
    ------
    ChainError
        The run succeeded, still runs, or is of another store or target.
    """
    folder = run_archive.find(settings.runs, run_id, provenance.store(settings))
    record = run_archive.read(folder)
    if record["status"] not in {run_archive.FAILED, run_archive.INTERRUPTED}:
        raise ChainError(f"Run {record['run_id']} {record['status']}: only a failed or interrupted run is resumed.")
    if (record["store"], record["target"]) != (provenance.store(settings), settings.target):
        raise ChainError(
            f"Run {record['run_id']} is of the store {record['store']} on {record['target']}: "
            f"give it with DATA={record['store']} TARGET={record['target']}."
        )
    request = Request.of_run(record)
    known = {step.name: step for step in chain.read_chain(chain_file)}
    steps = [known[entry["name"]] for entry in record["steps"] if entry["name"] in known]
    succeeded = {entry["name"] for entry in record["steps"] if entry["status"] == run_archive.SUCCEEDED}
    left = [step for step in steps if step.name not in succeeded]
    with notification.refusals(settings):
        _refuse_early(settings)
    with kernels.mother(settings, left) as mother:
        parameters = chain.check(steps, request.given, request.extra)
        with server_state.on_error(settings) as begun:
            with notification.refusals(settings):
                _preflight(settings, checks)
                first, _ = provenance.resume_from(record, steps, chain_file)
                prerequisites.check(settings, request, _from(first, steps))
            with one_writer(settings, "a run of the chain") as lease:
                run_archive.settle(settings.runs)
                first, why = provenance.resume_from(record, steps, chain_file)
                known_now = {"code": codebase.checksums(chain_file), "readers": provenance.readers(settings)}
                again = Run.reopen(folder, first, why, **known_now)
                begun.set()
                listener.run_started(_from(first, steps))
                _carry_out(settings, request, again, steps, parameters, listener, mother, lease)
    return again


def _from(first: str, steps: list[chain.Step]) -> list[chain.Step]:
    return steps[[step.name for step in steps].index(first) :]


def _refuse_early(settings: Settings) -> None:
    """What can be told of the target without asking anybody costs no imports of kernels."""
    if settings.target == "motherduck":
        from duckbook.backends import motherduck, warehouse

        motherduck.check(settings, warehouse.extension_directory(settings))


def _preflight(settings: Settings, checks: Sequence[Callable[[Settings], object]]) -> None:
    """See that everything that is not embedded can be reached and signed in to."""
    from duckbook.backends import servers

    for check in checks:
        check(settings)
    servers.preflight(settings)
    if settings.target != "duckdb":
        from duckbook.backends import warehouse

        warehouse.preflight(settings)


def _carry_out(settings, request, record: Run, steps, parameters, listener, mother, lease) -> None:
    of_the_run = {"DUCKBOOK_RUN_ID": record.record["run_id"], "DUCKBOOK_RUN_DIR": str(record.folder)}
    of_the_run |= {lock.TOKEN: lease.token} if lease else {}
    environment = kernels.environment_of(settings) | of_the_run
    witness = Witness(record.folder)
    if mother is not None:
        witness.watch(mother.pid)
    archivist = Archivist(environment, record, steps, witness, settings.data, mother)
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
        see=lease.check if lease else lambda: None,
        explain=lambda error: disk_space.explain(error, settings),
    )
    worth_telling = True
    # What an earlier attempt of the run could not write is no news.
    record.record.pop("page_error", None)
    # What came of the work is written whole, on the run's page too, whoever asks it to stop meanwhile.
    with unstoppable() as stoppable:
        try:
            with stoppable():
                failed = _work(settings, request, record, steps, parameters, supervisor)
            if failed is None:
                record.end(run_archive.SUCCEEDED)
            else:
                record.end(run_archive.FAILED, f"{failed}: {record.step(failed)['error']}")
        except KeyboardInterrupt as stop:
            # Only the command line's own handlers give a number; Ctrl-C has none, and whoever pressed it knows.
            worth_telling = bool(stop.args)
            how = signal.Signals(stop.args[0]).name if stop.args else "Ctrl-C"
            record.end(run_archive.INTERRUPTED, f"It was stopped by {how}.")
            raise
        except (DuckbookError, OSError) as error:
            said = redaction.Redactor(supervisor.secrets).text(reason(error))
            record.end(run_archive.FAILED, disk_space.explain(said, settings))
        except BaseException as error:
            record.end(
                run_archive.FAILED, redaction.Redactor(supervisor.secrets).text(f"{type(error).__name__}: {error}")
            )
            raise
        finally:
            supervisor.discard()
            _archive(record, lambda: archivist.end(redaction.Redactor(supervisor.secrets)))
            _archive(record, lambda: _write_pages(record))
            if disk_space.is_full(record.record["error"] or "", settings):
                _stop_servers(settings)
            if worth_telling and record.record["status"] != run_archive.SUCCEEDED:
                notification.tell(settings, record, redaction.Redactor(supervisor.secrets))
            witness.dismiss()


def _work(settings, request, record: Run, steps, parameters, supervisor: Supervisor) -> str | None:
    """Start the servers, find the as-of date and do the steps; the name of the one that failed, if any did."""
    from duckbook.backends import servers

    supervisor.warm()
    if any(step.group not in chain.READERS for step in steps):
        with ThreadPoolExecutor(1) as meanwhile:
            meanwhile.submit(supervisor.get_ready)
            endpoints = servers.up(settings)
        supervisor.secrets[:] = redaction.secrets_of(settings, endpoints)
        record.scrub = redaction.Redactor(supervisor.secrets).scrub
        as_of = None
        if any("as_of" in step.parameters for step in steps):
            as_of = _as_of(settings, endpoints, request)
            record.record["as_of"] = as_of.isoformat() if as_of else None
        if _generates(steps):
            from duckbook.backends import manifest

            chosen = manifest.choose(settings, endpoints, **request.values, as_of=as_of)
            record.record["parameters"] |= chosen | {"first_as_of": chosen["first_as_of"].isoformat()}
        for step in steps:
            if as_of and "as_of" in step.parameters:
                parameters[step.name]["as_of"] = as_of.isoformat()
    failed = supervisor.carry_out()
    record.record["publication"] = provenance.publication(settings, record.record["run_id"])
    record.record["readers"] = provenance.readers(settings)
    if failed is None and _reads_what_others_published(steps):
        _see_that_readers_stayed(record.record)
    return failed


def _reads_what_others_published(steps: list[chain.Step]) -> bool:
    return "publish" not in {step.name for step in steps} and any("publish" in step.needs for step in steps)


def _see_that_readers_stayed(record: dict[str, Any]) -> None:
    """See that readers take a publication of the day that the record of a run names; MotherDuck does not tell."""
    now = record["readers"]
    if now and now["as_of"] != record["as_of"]:
        raise ChainError(
            f"Readers were pointed at the publication {now['run_id']}, as of {now['as_of']}, while this run read that "
            f"as of {record['as_of']}: its notebooks may have read either. Run it again."
        )


def _generates(steps: list[chain.Step]) -> bool:
    return any(step.group == "generate" for step in steps)


def _stop_servers(settings: Settings) -> None:
    """Stop servers that met a full disk: for a minute after there is room again they refuse to write."""
    from duckbook.backends import servers

    with contextlib.suppress(DuckbookError, OSError):
        servers.down(settings)


def _write_pages(record: Run) -> None:
    from duckbook.runs import page

    page.write_all(record.folder)


def _archive(record: Run, write: Callable[[], object]) -> None:
    """Write a part of the archive; one that cannot be written is told, and takes nothing from what the run has done."""
    try:
        write()
    except Exception as error:
        record.record["page_error"] = reason(error)
        with contextlib.suppress(OSError):
            record.save()


def _as_of(settings: Settings, endpoints, request: Request) -> date | None:
    """The as-of date of the run; None where the data tells it, because others landed them."""
    if not request.generate:
        return request.as_of
    from duckbook.backends import manifest

    if request.next_day:
        return request.as_of or manifest.next_as_of(settings, endpoints)
    return manifest.resolve_as_of(settings, endpoints, request.as_of)


def resume_command(record: dict[str, Any]) -> str:
    """What to run next after a run that did not succeed."""
    data = os.environ.get("DUCKBOOK_DATA")
    target = record["target"]
    chosen = f" --data {shlex.quote(data)}" if data else ""
    return f".venv/bin/duckbook resume {record['run_id']}{chosen}{f' --target {target}' if target != 'duckdb' else ''}"
