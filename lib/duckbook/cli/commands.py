"""The command line: ``duckbook COMMAND``; the Makefile's commands are these.

Options are settings: each sets its ``DUCKBOOK_*`` variable before the settings are read, so that kernels inherit it.
Exit status: 0 done, 1 failed, 2 wrong usage or setting, 130 interrupted by Ctrl-C, 143 by SIGTERM.
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
from typing import TYPE_CHECKING, Any

import click

from duckbook.backends import server_state
from duckbook.backends.signals import is_put_off
from duckbook.cli import archive_commands, server_commands, target_commands
from duckbook.cli.options import complete_run, complete_step, parameter_option, size_options, store_options, when_option
from duckbook.errors import DuckbookError, reason, visible

if TYPE_CHECKING:
    from duckbook.settings import Settings


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP asked the process to stop."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """An analytics workbook for e-commerce: generate, land, ingest, transform, publish and explore on DuckDB."""


@cli.command()
@store_options
@size_options
@when_option
@parameter_option
@click.option("--generate/--no-generate", default=True, help="Generate data, or run what others have landed.")
@click.option("--from", "first", shell_complete=complete_step, help="First step to do.")
@click.option("--until", "last", shell_complete=complete_step, help="Last step to do.")
@click.option("--only", shell_complete=complete_step, help="The one step to do.")
@click.option("--chain", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another chain file.")
def run(customers, seed, dirt, planted, as_of, extra, generate, first, last, only, chain, **_store) -> None:
    """Run the chain: generate, ingest, transform, publish, explore."""
    from duckbook.runs.request import Request

    given = {"customers": customers, "seed": seed, "dirt": dirt, "planted": planted}
    values = {name: value for name, value in given.items() if value is not None}
    _run(Request(as_of, False, values, extra, first, last, only, generate), chain)


@cli.command()
@store_options
@when_option
@parameter_option
@click.option("--generate/--no-generate", default=True, help="Generate data, or run what others have landed.")
def latest(as_of, extra, generate, **_store) -> None:
    """Run one more day: generate the latest 30 days, ingest, transform, publish."""
    from duckbook.runs.chain import read_chain
    from duckbook.runs.request import Request

    explorations = tuple(step.name for step in read_chain() if step.group == "explore")
    _run(Request(as_of, True, extra=extra, generate=generate, leave_out=("generate_history", *explorations)))


@cli.command()
@store_options
@click.argument("run_id", default="latest", shell_complete=complete_run)
@click.option("--chain", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another chain file.")
def resume(run_id, chain, **_store) -> None:
    """Go on with a run that failed or was stopped, from the step that did not succeed."""
    _run(run_id, chain)


def _run(asked: Any, chain_file: Path | None = None) -> None:
    """Do what a request asks for, or go on with the run of an id, and tell how it ended."""
    from duckbook.settings import settings

    # Before the imports that take a second: a wrong setting is told at once.
    chosen = settings()

    from duckbook.cli import terminal
    from duckbook.ingest import new_sources
    from duckbook.runs import provenance, run_archive, runner
    from duckbook.runs.chain import CHAIN_FILE

    if not isinstance(asked, str) and not asked.generate and (told := new_sources.told_of(asked.as_of)):
        click.echo(told, err=True)
    out = terminal.console()
    listener = terminal.LiveListener(out)
    try:
        with listener:
            do = runner.resume if isinstance(asked, str) else runner.run
            record = do(chosen, asked, listener, chain_file or CHAIN_FILE, checks=[check_planted])
    except KeyboardInterrupt:
        newest = run_archive.latest(chosen.runs, provenance.store(chosen))
        told = run_archive.read(newest) if newest is not None and listener.began else None
        if told and told["status"] != run_archive.SUCCEEDED:
            terminal.show_failure(terminal.console(stderr=True), told, None, runner.resume_command(told))
        raise
    terminal.show_summary(out, record.record, record.folder / "index.html")
    if record.record["status"] != run_archive.SUCCEEDED:
        failed = [step for step in record.record["steps"] if step["status"] == run_archive.FAILED]
        notebook = record.folder / failed[0]["notebook"] if failed else None
        terminal.show_failure(
            terminal.console(stderr=True), record.record, notebook, runner.resume_command(record.record)
        )
        sys.exit(1)


def check_planted(chosen: Settings) -> None:
    """Refuse planted parameters that do not exist or are out of range."""
    if chosen.planted:
        from duckbook.generate.shop.parameters import planting

        planting(chosen.planted)


def _from_raw(purpose: str) -> Any:
    """What makes everything of raw again, for whoever reads it."""
    from duckbook.runs.request import Request
    from duckbook.settings import settings

    return Request(first="staging", last="bi" if settings().bi else "publish", generate=False, purpose=purpose)


@cli.command()
@store_options
@server_state.command
def rebuild(**_store) -> None:
    """Make the warehouse again from the history in S3 alone, and publish it."""
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.ingest import raw
    from duckbook.settings import settings

    servers.preflight(settings())
    with one_writer(settings(), "a rebuild"):
        raw.rebuild(settings(), servers.up(settings()))
    _run(_from_raw("rebuild"))


@cli.command()
@store_options
@click.argument("folder", type=click.Path(path_type=Path))
@server_state.command
def restore(folder, **_store) -> None:
    """Make an empty store again from a backup, through to the published marts."""
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.ingest import raw
    from duckbook.ops import backup
    from duckbook.settings import settings

    servers.preflight(settings())
    backup.check(settings(), folder)
    with one_writer(settings(), "a restore"):
        endpoints = servers.up(settings())
        restored = backup.restore(settings(), endpoints, folder)
        raw.rebuild(settings(), endpoints)
        backup.finish_restore(settings())
    click.echo(f"Restored the history of {restored.commit} commits, as of {restored.as_of}; building from it.")
    _run(_from_raw("restore"))


@cli.command()
@store_options
@click.option("--records", default="", help="Records to erase that an erasure has listed, with blanks between them.")
@click.argument("customer_ids", nargs=-1, metavar="CUSTOMER_ID…")
@server_state.command
def forget(customer_ids, records, **_store) -> None:
    """Erase people for good, publish without them, and prove it; later landings do not bring them back."""
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.cli import terminal
    from duckbook.ingest import raw
    from duckbook.ops import person_erasure, remaining_copies
    from duckbook.settings import settings

    chosen = settings()
    servers.preflight(chosen)
    with one_writer(chosen, "an erasure"):
        endpoints = servers.up(chosen)
        remaining_copies.check_warehouse(chosen)
        tell = partial(terminal.show_doubts, terminal.console())
        erasure = person_erasure.erase(chosen, endpoints, customer_ids, records.split(), tell)
        remaining_copies.discard_warehouse(chosen)
        raw.load(chosen, endpoints)
    _run(_from_raw("forget"))
    with one_writer(chosen, "an erasure"):
        remaining_copies.remove(chosen, endpoints, sorted(erasure.people.ids))
        unreached = servers.vacuum(chosen)
        found = remaining_copies.search(chosen, endpoints, erasure.people)
    terminal.show_erasure(
        terminal.console(), erasure, found, unreached, remaining_copies.files_with_ids(chosen, erasure.people)
    )
    if any(trace.found for trace in found):
        sys.exit(1)


@cli.command()
@store_options
@click.argument("batches", nargs=-1, required=True, metavar="BATCH…")
@server_state.command
def withdraw(batches, **_store) -> None:
    """Take batches back out of the history, and publish without them.

    A BATCH is a batch_id of ecom_raw.batches, or the address of a source, whose newest batch is meant. It comes in
    again when the source is landed anew.
    """
    from duckbook.backends import servers
    from duckbook.backends.lock import one_writer
    from duckbook.ingest import raw
    from duckbook.ops import withdrawal
    from duckbook.settings import settings

    chosen = settings()
    servers.preflight(chosen)
    with one_writer(chosen, "a withdrawal"):
        endpoints = servers.up(chosen)
        withdrawn = withdrawal.withdraw(chosen, endpoints, batches)
        raw.load(chosen, endpoints)
    for batch in withdrawn.batches:
        click.echo(f"Withdrawn: {batch.batch_id}, {batch.landed:,} rows of {batch.source}.")
    click.echo(f"The history is as of {withdrawn.as_of}. What was withdrawn is read again once it is landed anew.")
    _run(_from_raw("withdraw"))


@cli.command()
@click.option("--customers", type=int, help="Customers of the canonical run, where not as many as it usually has.")
@click.option("--science", is_flag=True, help="The notebooks that want the larger store, instead of the chain's.")
def outputs(customers, science) -> None:
    """Refresh the notebooks' committed outputs from the canonical run."""
    from duckbook.cli import terminal
    from duckbook.ops import committed_outputs as refresh

    listening = partial(terminal.LiveListener, terminal.console(stderr=True))
    for line in refresh.refresh(listening, customers, science=science):
        click.echo(line)


@cli.command()
def stale() -> None:
    """Say which notebooks' committed outputs are older than their sources; exit status 1 where there are any."""
    from duckbook.runs import staleness

    found = {name: kinds for name, kinds in staleness.stale().items() if kinds}
    for name, kinds in found.items():
        click.echo(f"{name} is stale: changed since its outputs were taken: {', '.join(kinds)}.")
    click.echo("Refresh them with make outputs, or make outputs SCIENCE=1." if found else "No notebook is stale.")
    sys.exit(bool(found))


for command in (*archive_commands.COMMANDS, *server_commands.COMMANDS, *target_commands.COMMANDS):
    cli.add_command(command)


def _stop(number: int, frame: Any) -> None:
    if not is_put_off(number, frame):
        # Of Ctrl-C is told that it was that, and by no number.
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)


def main() -> None:
    """Run a command; an error is one sentence on stderr."""
    # At its end Python looks through all that it holds, for a third of a second after a run, unless that is frozen;
    # nothing waits for it: files and connections are closed by those who opened them.
    atexit.register(gc.freeze)
    # A shell ignores SIGINT for what it starts in the background; asked to stop, a run stops all the same.
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    # Started by nohup, it goes on when its terminal is closed.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _stop)
    # What a command writes, its servers and kernels too, is its owner's alone, whatever folder it lies in.
    os.umask(0o077)
    try:
        cli.main(prog_name="duckbook", standalone_mode=False)
    except DuckbookError as error:
        click.echo(_shown(_explained(str(error))), err=True)
        sys.exit(error.exit_status)
    except OSError as error:
        click.echo(_shown(_explained(reason(error))), err=True)
        sys.exit(1)
    except click.exceptions.Abort as abort:
        # click turns every KeyboardInterrupt into this.
        click.echo("Stopped.", err=True)
        sys.exit(128 + abort.__cause__.args[0] if isinstance(abort.__cause__, Stopped) else 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Exception as error:
        # Libraries say in their own ways that a disk is full. Else it is a fault of ours: the traceback says where, and
        # quotes what a library said.
        said = reason(error)
        explained = _explained(said)
        click.echo(_shown(traceback.format_exc() if explained == said else explained), err=True)
        sys.exit(1)


def _explained(said: str) -> str:
    """An error, and where it came of a full disk the folder that lies on it."""
    from duckbook.backends import disk_space
    from duckbook.settings import settings

    try:
        return disk_space.explained(said, settings())
    except (DuckbookError, OSError):
        return said


def _shown(text: str) -> str:
    """A text as a terminal may show it: without secrets, and without characters that steer it."""
    from duckbook.redaction import Redactor, secrets_of
    from duckbook.settings import settings

    # Where the settings are what is wrong, their sentence shows no secret.
    with contextlib.suppress(DuckbookError):
        text = Redactor(secrets_of(settings())).text(text)
    return visible(text)


if __name__ == "__main__":
    main()
