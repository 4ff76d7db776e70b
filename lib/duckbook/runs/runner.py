"""One run of the chain, from its first check to its page.

Everything is checked before any work. The run is recorded before the servers start, so that their failure is in the
record, and the first kernel starts while the servers do.
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
from duckbook.backends import disk_space, lock, manifest, server_state, servers, storage
from duckbook.backends.lease import Lease
from duckbook.backends.lock import one_writer
from duckbook.backends.signals import unstoppable
from duckbook.errors import ChainError, DuckbookError, reason
from duckbook.runs import chain, codebase, kernels, notification, prerequisites, provenance, run_archive
from duckbook.runs.archive_writer import ArchiveWriter
from duckbook.runs.chain import Step
from duckbook.runs.fork_server import ForkServer
from duckbook.runs.request import Request
from duckbook.runs.run_archive import Run
from duckbook.runs.supervisor import Listener, Supervisor
from duckbook.runs.watchdog import Watchdog
from duckbook.settings import Endpoints, Settings


def run(
    settings: Settings,
    request: Request,
    listener: Listener,
    chain_file: Path = chain.CHAIN_FILE,
    checks: Sequence[Callable[[Settings], object]] = (),
) -> Run:
    """Run the chain and archive the run.

    Parameters
    ----------
    checks
        Further checks of the settings, each of which may raise a `DuckbookError`.

    Returns
    -------
    Run
        The ended run, which may have failed.

    Raises
    ------
    DuckbookError
        A check failed. No run was recorded.
    KeyboardInterrupt
        The run was stopped and recorded as interrupted.
    """
    steps = chain.select(
        chain.read_chain(chain_file),
        first=request.first,
        last=request.last,
        only=request.only,
        generate=request.generate,
        leave_out=request.leave_out,
        always=("bi",) if settings.bi else (),
    )

    def begin(as_of: date | None) -> Run:
        redactor = redaction.Redactor(redaction.secrets_of(settings))
        return Run.begin(
            settings.runs,
            target=settings.target,
            as_of=as_of.isoformat() if as_of else request.given.get("as_of"),
            parameters=redactor.scrub(request.parameters(settings, _generates(steps))),
            steps=[(step.name, step.notebook.name) for step in steps],
            request=redactor.scrub(request.as_record),
            kind=request.kind,
            store=provenance.data_folder(settings),
            git=provenance.git(),
            versions=provenance.versions(),
            code=codebase.checksums(chain_file),
            readers=provenance.readers(settings),
        )

    return _run(settings, request, listener, checks, steps, steps, begin)


def resume(
    settings: Settings,
    run_id: str,
    listener: Listener,
    chain_file: Path = chain.CHAIN_FILE,
    checks: Sequence[Callable[[Settings], object]] = (),
) -> Run:
    """Resume a run that did not succeed, with the same parameters.

    It resumes at the first step that did not succeed, or at an earlier one whose notebook, library code or models have
    changed since. The record has the step and the reason (``resumed``).

    Raises
    ------
    ChainError
        The run succeeded, still runs, or has another data folder or target.
    """
    folder = run_archive.find(settings.runs, run_id, provenance.data_folder(settings))
    record = run_archive.read(folder)
    if record["status"] not in {run_archive.FAILED, run_archive.INTERRUPTED}:
        raise ChainError(f"Run {record['run_id']} {record['status']}: only a failed or interrupted run is resumed.")
    if (record["store"], record["target"]) != (provenance.data_folder(settings), settings.target):
        raise ChainError(
            f"Run {record['run_id']} used the data folder {record['store']} and the target {record['target']}: "
            f"resume it with DATA={record['store']} TARGET={record['target']}."
        )
    request = Request.of_run(record)
    known = {step.name: step for step in chain.read_chain(chain_file)}
    steps = [known[entry["name"]] for entry in record["steps"] if entry["name"] in known]
    first, why = provenance.resume_from(record, steps, chain_file)

    def begin(_as_of: date | None) -> Run:
        updated = {"code": codebase.checksums(chain_file), "readers": provenance.readers(settings)}
        return Run.reopen(folder, first, why, **updated)

    remaining = steps[[step.name for step in steps].index(first) :]
    return _run(settings, request, listener, checks, steps, remaining, begin)


def _run(
    settings: Settings,
    request: Request,
    listener: Listener,
    checks: Sequence[Callable[[Settings], object]],
    steps: list[Step],
    remaining: list[Step],
    begin: Callable[[date | None], Run],
) -> Run:
    """Check everything, begin the recorded run, and execute its remaining steps."""
    with notification.on_refusal(settings):
        _check_target(settings)
    with kernels.start_fork_server(settings, remaining) as fork_server:
        parameters = chain.check(steps, request.given, request.extra)
        with server_state.on_error(settings) as begun:
            with notification.on_refusal(settings):
                _preflight(settings, checks)
                as_of = prerequisites.check(settings, request, remaining)
            with one_writer(settings, "a run of the chain") as lease:
                run_archive.interrupt_killed(settings.runs)
                archived = begin(as_of)
                begun.set()  # Leave the servers up for `resume`.
                listener.run_started(remaining)
                _execute(settings, request, archived, steps, parameters, listener, fork_server, lease)
    return archived


def _check_target(settings: Settings) -> None:
    """Check the settings of MotherDuck, before the fork server starts."""
    if settings.target == "motherduck":
        from duckbook.backends import motherduck, warehouse

        motherduck.check(settings, warehouse.extension_directory(settings))


def _preflight(settings: Settings, checks: Sequence[Callable[[Settings], object]]) -> None:
    """Check that every external server can be reached and signed in to."""
    for check in checks:
        check(settings)
    servers.preflight(settings)
    if settings.target != "duckdb":
        from duckbook.backends import warehouse

        warehouse.preflight(settings)


def _execute(
    settings: Settings,
    request: Request,
    archived: Run,
    steps: list[Step],
    parameters: dict[str, dict[str, Any]],
    listener: Listener,
    fork_server: ForkServer | None,
    lease: Lease | None,
) -> None:
    record = archived.record
    environment = kernels.settings_environment(settings)
    environment |= {"DUCKBOOK_RUN_ID": record["run_id"], "DUCKBOOK_RUN_DIR": str(archived.folder)}
    environment |= {lock.TOKEN: lease.token} if lease else {}
    watchdog = Watchdog(archived.folder)
    if fork_server is not None:
        watchdog.watch(fork_server.pid)
    writer = ArchiveWriter(environment, archived, steps, watchdog, settings.data)
    supervisor = Supervisor(
        archived,
        steps,
        environment,
        secrets=redaction.secrets_of(settings),
        listener=listener,
        watchdog=watchdog,
        fork_server=fork_server,
        after_step=writer.after_step,
        parameters=parameters,
        poll=lease.check if lease else lambda: None,
        explain=lambda error: disk_space.explain(error, settings),
    )
    is_notified = True
    record.pop("page_error", None)  # of an earlier attempt
    # Signals are deferred while the record and the pages are written.
    with unstoppable() as stoppable:
        try:
            with stoppable():
                failed = _run_steps(settings, request, archived, steps, parameters, supervisor)
            if failed is None:
                archived.end(run_archive.SUCCEEDED)
            else:
                archived.end(run_archive.FAILED, f"{failed}: {archived.step(failed)['error']}")
        except KeyboardInterrupt as stop:
            # The command line's handlers give a signal number, except for Ctrl-C, after which nobody is notified.
            is_notified = bool(stop.args)
            how = signal.Signals(stop.args[0]).name if stop.args else "Ctrl-C"
            archived.end(run_archive.INTERRUPTED, f"It was stopped by {how}.")
            raise
        except (DuckbookError, OSError) as error:
            message = redaction.Redactor(supervisor.secrets).text(reason(error))
            archived.end(run_archive.FAILED, disk_space.explain(message, settings))
        except BaseException as error:
            message = redaction.Redactor(supervisor.secrets).text(f"{type(error).__name__}: {error}")
            archived.end(run_archive.FAILED, message)
            raise
        finally:
            supervisor.discard()
            _record_page_error(archived, lambda: writer.end(redaction.Redactor(supervisor.secrets)))
            _record_page_error(archived, lambda: _write_pages(archived))
            if disk_space.is_full(record["error"] or "", settings):
                _stop_servers(settings)
            if is_notified and record["status"] != run_archive.SUCCEEDED:
                notification.notify(settings, archived, redaction.Redactor(supervisor.secrets))
            watchdog.dismiss()


def _run_steps(
    settings: Settings,
    request: Request,
    archived: Run,
    steps: list[Step],
    parameters: dict[str, dict[str, Any]],
    supervisor: Supervisor,
) -> str | None:
    """Start the servers, find the as-of date, run the steps, and return the name of the one that failed, or None."""
    record = archived.record
    supervisor.warm()
    if any(step.group not in chain.READERS for step in steps):
        with ThreadPoolExecutor(1) as background:
            background.submit(storage.prepare, settings)  # takes half a second, while the servers start
            endpoints = servers.up(settings)
        supervisor.secrets[:] = redaction.secrets_of(settings, endpoints)
        archived.scrub = redaction.Redactor(supervisor.secrets).scrub
        as_of = None
        if any("as_of" in step.parameters for step in steps):
            as_of = _as_of(settings, endpoints, request)
            record["as_of"] = as_of.isoformat() if as_of else None
        if _generates(steps):
            chosen = manifest.choose(settings, endpoints, **request.values, as_of=as_of)
            record["parameters"] |= chosen | {"first_as_of": chosen["first_as_of"].isoformat()}
        for step in steps:
            if as_of and "as_of" in step.parameters:
                parameters[step.name]["as_of"] = as_of.isoformat()
    failed = supervisor.run_steps()
    record["publication"] = provenance.publication(settings, record["run_id"])
    record["readers"] = provenance.readers(settings)
    if failed is None and _reads_earlier_publication(steps):
        _check_publication_unchanged(record)
    return failed


def _reads_earlier_publication(steps: list[Step]) -> bool:
    return "publish" not in {step.name for step in steps} and any("publish" in step.needs for step in steps)


def _check_publication_unchanged(record: dict[str, Any]) -> None:
    """Check that readers still use a publication of the run's as-of date. It is not known for MotherDuck."""
    now = record["readers"]
    if now and now["as_of"] != record["as_of"]:
        raise ChainError(
            f"Readers were pointed at the publication {now['run_id']}, as of {now['as_of']}, while this run read the "
            f"one as of {record['as_of']}: its notebooks may have read either. Run it again."
        )


def _generates(steps: list[Step]) -> bool:
    return any(step.group == "generate" for step in steps)


def _stop_servers(settings: Settings) -> None:
    """Stop servers that ran out of disk space, because they refuse writes for a minute after space is freed."""
    with contextlib.suppress(DuckbookError, OSError):
        servers.stop_unused(settings, even_if_kept=True)


def _write_pages(archived: Run) -> None:
    from duckbook.runs import page

    page.write_all(archived.folder)


def _record_page_error(archived: Run, write: Callable[[], object]) -> None:
    """Write a part of the archive, and record a failure to do so without failing the run."""
    try:
        write()
    except Exception as error:
        archived.record["page_error"] = reason(error)
        with contextlib.suppress(OSError):
            archived.save()


def _as_of(settings: Settings, endpoints: Endpoints, request: Request) -> date | None:
    """The as-of date of the run; None if ingestion derives it from data that others landed."""
    if not request.generate:
        return request.as_of
    if request.next_day:
        return request.as_of or manifest.next_as_of(settings, endpoints)
    return manifest.resolve_as_of(settings, endpoints, request.as_of)


def resume_command(record: dict[str, Any]) -> str:
    """The command that resumes a run."""
    data = os.environ.get("DUCKBOOK_DATA")
    target = record["target"]
    chosen = f" --data {shlex.quote(data)}" if data else ""
    return f".venv/bin/duckbook resume {record['run_id']}{chosen}{f' --target {target}' if target != 'duckdb' else ''}"
