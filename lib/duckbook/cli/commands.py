"""The command line, ``duckbook COMMAND``, which the Makefile calls.

Exit status: 0 success, 1 failure, 2 wrong usage or setting, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import click

from duckbook.backends import server_state
from duckbook.backends.signals import deferred_by_import
from duckbook.cli import archive_commands, server_commands, target_commands
from duckbook.cli.options import (
    common_options,
    complete_run,
    complete_step,
    parameter_option,
    size_options,
    when_option,
)
from duckbook.errors import DuckbookError, reason, visible
from duckbook.settings import Settings, settings


class Stopped(KeyboardInterrupt):
    """The process was stopped by SIGTERM or SIGHUP, whose number is the argument."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """An analytics workbook for e-commerce: generate, land, ingest, transform, publish and explore on DuckDB."""


@cli.command()
@common_options
@size_options
@when_option
@parameter_option
@click.option("--generate/--no-generate", default=True, help="Generate data, or run on data that others have landed.")
@click.option("--from", "first", shell_complete=complete_step, help="First step to run.")
@click.option("--until", "last", shell_complete=complete_step, help="Last step to run.")
@click.option("--only", shell_complete=complete_step, help="Step or group to run alone.")
@click.option("--chain", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another chain file.")
def run(customers, seed, dirt, planted, as_of, extra, generate, first, last, only, chain, **_common) -> None:
    """Run the chain: generate, ingest, transform, publish, explore."""
    from duckbook.runs.request import Request

    given = {"customers": customers, "seed": seed, "dirt": dirt, "planted": planted}
    values = {name: value for name, value in given.items() if value is not None}
    _run(Request(as_of, False, values, extra, first, last, only, generate), chain)


@cli.command()
@common_options
@when_option
@parameter_option
@click.option("--generate/--no-generate", default=True, help="Generate data, or run on data that others have landed.")
def latest(as_of, extra, generate, **_common) -> None:
    """Run one more day: generate the latest 30 days, ingest, transform, publish."""
    from duckbook.runs.chain import read_chain
    from duckbook.runs.request import Request

    explorations = tuple(step.name for step in read_chain() if step.group == "explore")
    _run(Request(as_of, True, extra=extra, generate=generate, leave_out=("generate_history", *explorations)))


@cli.command()
@common_options
@click.argument("run_id", default="latest", shell_complete=complete_run)
@click.option("--chain", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another chain file.")
def resume(run_id, chain, **_common) -> None:
    """Resume a run that failed or was stopped, from the step that did not succeed."""
    _run(run_id, chain)


def _run(request: Any, chain_file: Path | None = None) -> None:
    """Run a request, or resume the run of an id, and print how it ended."""
    # Report a wrong setting before the imports, which take a second.
    chosen = settings()

    from duckbook.cli import terminal
    from duckbook.ingest import new_sources
    from duckbook.runs import provenance, run_archive, runner
    from duckbook.runs.chain import CHAIN_FILE

    is_resumed = isinstance(request, str)
    if not is_resumed and not request.generate and (warning := new_sources.as_of_warning(request.as_of)):
        click.echo(warning, err=True)
    out = terminal.console()
    listener = terminal.LiveListener(out)
    try:
        with listener:
            start = runner.resume if is_resumed else runner.run
            ended = start(chosen, request, listener, chain_file or CHAIN_FILE, checks=[check_planted])
    except KeyboardInterrupt:
        newest = run_archive.latest(chosen.runs, provenance.data_folder(chosen))
        record = run_archive.read(newest) if newest is not None and listener.has_started else None
        if record and record["status"] != run_archive.SUCCEEDED:
            terminal.show_failure(terminal.console(stderr=True), record, None, runner.resume_command(record))
        raise
    record = ended.record
    terminal.show_summary(out, record, ended.folder / "index.html")
    if record["status"] != run_archive.SUCCEEDED:
        failed = [step for step in record["steps"] if step["status"] == run_archive.FAILED]
        notebook = ended.folder / failed[0]["notebook"] if failed else None
        terminal.show_failure(terminal.console(stderr=True), record, notebook, runner.resume_command(record))
        sys.exit(1)


def check_planted(chosen: Settings) -> None:
    """Raise for planted parameters that do not exist or are out of range."""
    if chosen.planted:
        from duckbook.generate.shop.parameters import planting

        planting(chosen.planted)


def _from_raw(purpose: str) -> Any:
    """A request that rebuilds and publishes everything from raw."""
    from duckbook.runs.request import Request

    return Request(first="staging", last="bi" if settings().bi else "publish", generate=False, purpose=purpose)


@cli.command()
@common_options
@server_state.command
def rebuild(**_common) -> None:
    """Rebuild the warehouse from the history in S3, and publish it."""
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.ingest import raw

    servers.preflight(settings())
    with one_writer(settings(), "a rebuild"):
        raw.rebuild(settings(), servers.up(settings()))
    _run(_from_raw("rebuild"))


@cli.command()
@common_options
@click.argument("folder", type=click.Path(path_type=Path))
@server_state.command
def restore(folder, **_common) -> None:
    """Restore a backup into an empty data folder, build the warehouse and publish it."""
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.ingest import raw
    from duckbook.ops import backup

    servers.preflight(settings())
    backup.check(settings(), folder)
    with one_writer(settings(), "a restore"):
        endpoints = servers.up(settings())
        restored = backup.restore(settings(), endpoints, folder)
        raw.rebuild(settings(), endpoints)
    click.echo(f"Restored the history of {restored.commit} commits, as of {restored.as_of}; building from it.")
    _run(_from_raw("restore"))
    backup.finish_restore(settings())


@cli.command()
@common_options
@click.option("--records", default="", help="Records to erase, as listed by an earlier erasure, separated by spaces.")
@click.argument("customer_ids", nargs=-1, metavar="CUSTOMER_ID…")
@server_state.command
def forget(customer_ids, records, **_common) -> None:
    """Erase people for good, publish without them, and prove it; later landings do not restore them."""
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.cli import terminal
    from duckbook.ingest import raw
    from duckbook.ops import person_erasure, remaining_copies

    chosen = settings()
    servers.preflight(chosen)
    with one_writer(chosen, "an erasure"):
        endpoints = servers.up(chosen)
        remaining_copies.check_warehouse(chosen)
        show_doubts = partial(terminal.show_doubts, terminal.console())
        erasure = person_erasure.erase(chosen, endpoints, customer_ids, records.split(), show_doubts)
        remaining_copies.discard_warehouse(chosen)
        raw.load(chosen, endpoints)
    _run(_from_raw("forget"))
    with one_writer(chosen, "an erasure"):
        remaining_copies.remove(chosen, endpoints, sorted(erasure.people.ids))
        unreached = servers.vacuum(chosen)
        traces = remaining_copies.search(chosen, endpoints, erasure.people)
    numbered = remaining_copies.files_with_ids(chosen, erasure.people)
    terminal.show_erasure(terminal.console(), erasure, traces, unreached, numbered)
    if any(trace.found for trace in traces):
        sys.exit(1)


@cli.command()
@common_options
@click.argument("batches", nargs=-1, required=True, metavar="BATCH…")
@server_state.command
def withdraw(batches, **_common) -> None:
    """Withdraw batches from the history, and publish without them.

    A BATCH is a batch_id of ecom_raw.batches, or the address of a source, for its newest batch. It is ingested again
    when the source is landed again.
    """
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.ingest import raw
    from duckbook.ops import withdrawal

    chosen = settings()
    servers.preflight(chosen)
    with one_writer(chosen, "a withdrawal"):
        endpoints = servers.up(chosen)
        withdrawn = withdrawal.withdraw(chosen, endpoints, batches)
        raw.load(chosen, endpoints)
    for batch in withdrawn.batches:
        click.echo(f"Withdrawn: {batch.batch_id}, {batch.landed:,} rows of {batch.source}.")
    click.echo(f"The history is as of {withdrawn.as_of}. A withdrawn source is ingested again if it is landed again.")
    _run(_from_raw("withdraw"))


@cli.command()
@click.option("--customers", type=int, help="Customers of the canonical run, in place of the usual number.")
@click.option("--science", is_flag=True, help="Refresh the data science notebooks instead of the chain's.")
def outputs(customers, science) -> None:
    """Refresh the notebooks' committed outputs from the canonical run."""
    from duckbook.cli import terminal
    from duckbook.ops import committed_outputs

    new_listener = partial(terminal.LiveListener, terminal.console(stderr=True))
    for line in committed_outputs.refresh(new_listener, customers, science=science):
        click.echo(line)


@cli.command()
def stale() -> None:
    """List notebooks whose committed outputs are older than their sources; exit status 1 if there are any."""
    from duckbook.runs import codebase

    notebooks = {name: changed for name, changed in codebase.stale().items() if changed}
    for name, changed in notebooks.items():
        click.echo(f"{name} is stale: changed since its outputs were refreshed: {', '.join(changed)}.")
    click.echo("Refresh them with make outputs, or make outputs SCIENCE=1." if notebooks else "No notebook is stale.")
    sys.exit(bool(notebooks))


for command in (*archive_commands.COMMANDS, *server_commands.COMMANDS, *target_commands.COMMANDS):
    cli.add_command(command)


def _stop(number: int, frame: Any) -> None:
    if not deferred_by_import(number, frame):
        # Without a number: `runner` treats Ctrl-C differently.
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)


def main() -> None:
    """Run a command, and print an error as one sentence on stderr."""
    # Skip the last garbage collection, which takes a third of a second; files and connections are closed already.
    atexit.register(gc.freeze)
    # Shells start background processes with SIGINT ignored.
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    # nohup ignores SIGHUP, and it stays ignored.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _stop)
    # Files of commands, servers and kernels are private.
    os.umask(0o077)
    try:
        cli.main(prog_name="duckbook", standalone_mode=False)
    except DuckbookError as error:
        click.echo(_printable(_explained(str(error))), err=True)
        sys.exit(error.exit_status)
    except OSError as error:
        click.echo(_printable(_explained(reason(error))), err=True)
        sys.exit(1)
    except click.exceptions.Abort as abort:
        # click's replacement for KeyboardInterrupt.
        click.echo("Stopped.", err=True)
        sys.exit(128 + abort.__cause__.args[0] if isinstance(abort.__cause__, Stopped) else 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        # Libraries report a full disk in their own ways. Anything else is a bug and gets a traceback.
        message = reason(error)
        explained = _explained(message)
        click.echo(_printable(traceback.format_exc() if explained == message else explained), err=True)
        sys.exit(1)


def _explained(message: str) -> str:
    """An error message; if the disk is full, with the folder on it."""
    from duckbook.backends import disk_space

    try:
        return disk_space.explain(message, settings())
    except (DuckbookError, OSError):
        return message


def _printable(text: str) -> str:
    """Redact secrets and replace control characters."""
    from duckbook.redaction import Redactor, secrets_of

    # Messages about wrong settings contain no secrets.
    with contextlib.suppress(DuckbookError):
        text = Redactor(secrets_of(settings())).text(text)
    return visible(text)


if __name__ == "__main__":
    main()
