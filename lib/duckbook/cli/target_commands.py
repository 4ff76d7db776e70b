"""The commands over more than one target: holding two against each other, and copying one to another."""

from __future__ import annotations

import sys

import click

from duckbook.backends import server_state
from duckbook.cli.options import store_options


@click.command()
@store_options
@click.argument("left")
@click.argument("right")
@click.option("--schema", "schemas", multiple=True, help="A schema to look at, such as ecom_marts; may be given often.")
@click.option("--sample", type=click.IntRange(1), help="Look at the rows of about so many keys a table, not at all.")
@server_state.command
def parity(left, right, schemas, sample, **_store) -> None:
    """Hold two targets against each other, table by table; exit status 1 where they differ.

    A side is duckdb, lake or motherduck; a file that ends in .duckdb; or a publication, RUN or TARGET:RUN.
    """
    from duckbook.cli import terminal
    from duckbook.ops import parity
    from duckbook.settings import settings

    with parity.open_side(settings(), left) as one, parity.open_side(settings(), right) as other:
        found = parity.compare(settings(), one, other, schemas or parity.SCHEMAS, sample)
    terminal.show_parity(terminal.console(), left, right, found)
    if not parity.all_equal(found):
        sys.exit(1)


@click.command()
@store_options
@click.argument("to")
@click.option("--from", "source", default="duckdb", help="The target that is copied; duckdb where none is named.")
@server_state.command
def promote(to, source, **_store) -> None:
    """Copy the warehouse of one target to another, prove that they are equal, and publish there."""
    from duckbook.backends.lock import one_writer
    from duckbook.cli import terminal
    from duckbook.ops import parity, promotion
    from duckbook.settings import settings

    # What is written is the other target.
    written = parity.with_target(settings(), to) if to in parity.TARGETS else settings()
    with one_writer(written, "a promotion"):
        promoted = promotion.promote(settings(), source, to)
    terminal.show_parity(terminal.console(), source, to, promoted.parity)
    click.echo(f"Readers of {to} now take run {promoted.publication.run_id}, as of {promoted.publication.as_of}.")


COMMANDS = (parity, promote)
