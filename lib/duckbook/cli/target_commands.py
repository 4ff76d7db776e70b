"""Commands that compare two targets, and copy one to another."""

from __future__ import annotations

import sys

import click

from duckbook.backends import server_state
from duckbook.cli.options import common_options
from duckbook.settings import settings


@click.command()
@common_options
@click.argument("left")
@click.argument("right")
@click.option("--schema", "schemas", multiple=True, help="Schema to compare, such as ecom_marts; repeatable.")
@click.option("--sample", type=click.IntRange(1), help="Compare only the rows of about this many keys per table.")
@server_state.command
def parity(left, right, schemas, sample, **_common) -> None:
    """Compare two targets, table by table; exit status 1 if they differ.

    A side is duckdb, lake or motherduck; a file that ends in .duckdb; or a publication, RUN or TARGET:RUN.
    """
    from duckbook.cli import terminal
    from duckbook.ops import parity

    with parity.open_side(settings(), left) as first, parity.open_side(settings(), right) as second:
        tables = parity.compare(settings(), first, second, schemas or parity.SCHEMAS, sample)
    terminal.show_parity(terminal.console(), left, right, tables)
    if not parity.all_equal(tables):
        sys.exit(1)


@click.command()
@common_options
@click.argument("to")
@click.option("--from", "source", default="duckdb", help="Target to copy from; the default is duckdb.")
@server_state.command
def promote(to, source, **_common) -> None:
    """Copy the warehouse of one target to another, verify that they are equal, and publish there."""
    from duckbook.backends.lock import one_writer
    from duckbook.cli import terminal
    from duckbook.ops import parity, promotion

    written = parity.with_target(settings(), to) if to in parity.TARGETS else settings()
    with one_writer(written, "a promotion"):
        promoted = promotion.promote(settings(), source, to)
    terminal.show_parity(terminal.console(), source, to, promoted.parity)
    click.echo(f"Readers of {to} now use run {promoted.publication.run_id}, as of {promoted.publication.as_of}.")


COMMANDS = (parity, promote)
