"""Commands for archived runs and publications."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from duckbook.backends import server_state
from duckbook.cli.options import common_options, complete_publication, complete_run
from duckbook.errors import DuckbookError, visible
from duckbook.settings import settings


@click.command(name="list")
@common_options
@click.option("--all", "every", is_flag=True, help="Include runs of other data folders.")
def list_runs(every, **_common) -> None:
    """List the runs of the data folder, newest first."""
    from duckbook.runs import provenance, run_archive

    here = provenance.data_folder(settings())
    for record in run_archive.read_all(settings().runs, None if every else here):
        seconds = "" if record["seconds"] is None else f"{record['seconds']:.1f} s"
        kind = run_archive.kind(record)
        line = f"{record['run_id']}  {kind:<18}{record['status']:<12}{record['as_of'] or '':<12}{seconds:>10}"
        click.echo(visible(f"{line}  {record.get('store') or ''}".rstrip()))


@click.command()
@common_options
@click.argument("run_id", default="latest", shell_complete=complete_run)
def show(run_id, **_common) -> None:
    """Show how a run ended; the default is the newest run."""
    from duckbook.cli import terminal
    from duckbook.runs import provenance, run_archive

    folder = run_archive.find(settings().runs, run_id, provenance.data_folder(settings()))
    terminal.show_summary(terminal.console(), run_archive.read(folder), folder / "index.html")


@click.command()
@common_options
@click.argument("before", shell_complete=complete_run)
@click.argument("after", default="latest", shell_complete=complete_run)
def compare(before, after, **_common) -> None:
    """Compare two runs; the second defaults to the newest run."""
    from duckbook.cli import terminal
    from duckbook.runs import comparison, provenance, run_archive

    here = provenance.data_folder(settings())
    old, new = (run_archive.read(run_archive.find(settings().runs, run_id, here)) for run_id in (before, after))
    terminal.show_comparison(terminal.console(), old, new, comparison.compare(old, new))


@click.command()
@common_options
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@server_state.command
def prune(dry_run, **_common) -> None:
    """Remove the oldest runs and publications, and leftovers of killed processes.

    DUCKBOOK_KEEP_RUNS and DUCKBOOK_KEEP_PUBLICATIONS set how many are kept.
    """
    from duckbook.runs import pruning

    removed, unchecked = pruning.prune(settings(), dry_run=dry_run)
    for removal in removed:
        click.echo(f"{removal.kind:<12} {removal.size / 1e6:10,.1f} MB  {visible(removal.name)}")
    counts = {kind: sum(removal.kind == kind for removal in removed) for kind in pruning.KINDS}
    summary = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
    freed = sum(removal.size for removal in removed) / 1e6
    click.echo(f"{'Would remove' if dry_run else 'Removed'} {summary}: {freed:,.1f} MB{'' if dry_run else ' freed'}.")
    if unchecked:
        click.echo(unchecked)


@click.command()
@common_options
@click.argument("run_id", shell_complete=complete_publication)
@server_state.command
def rollback(run_id, **_common) -> None:
    """Point readers at the publication of an earlier run."""
    from duckbook.publish import publisher

    publication = publisher.roll_back(settings(), run_id)
    click.echo(f"Readers now use the marts of run {publication.run_id}, as of {publication.as_of}.")


@click.command()
@common_options
def report(**_common) -> None:
    """Open the page of the newest run."""
    from duckbook.runs import provenance, run_archive

    _open(run_archive.find(settings().runs, "latest", provenance.data_folder(settings())) / "index.html")


@click.command()
@common_options
@server_state.command
def docs(**_common) -> None:
    """Build dbt's documentation of the warehouse as one page, and open it."""
    from duckbook.transform import dbt_layers

    folder = settings().data / "docs"
    folder.mkdir(parents=True, exist_ok=True)
    dbt_layers.archive(settings(), folder)
    pages = sorted(folder.glob("dbt/*.html"))
    if not pages:
        raise DuckbookError("dbt wrote no documentation: build the warehouse first with `make pipeline`.")
    _open(pages[0])


def _open(page: Path) -> None:
    click.echo(str(page))
    # Only on a graphical display: a text browser would take over the terminal.
    if sys.stdout.isatty() and (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin"
    ):
        click.launch(str(page))


COMMANDS = (list_runs, show, compare, prune, rollback, report, docs)
