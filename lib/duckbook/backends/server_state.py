"""Servers that were down before a command that fails are down after it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING

import click

from duckbook.backends.signals import unstoppable
from duckbook.errors import DuckbookError

if TYPE_CHECKING:
    from duckbook.settings import Settings


@contextmanager
def on_error(store: Settings) -> Iterator[Event]:
    """Stop the embedded servers again where the block fails, if it started them and no run has the data folder by then.

    Yields
    ------
    Event
        Once it is set, the servers stay, however the block ends.
    """
    from duckbook.backends import servers
    from duckbook.backends.lock import hold_data_folder

    before, stay = store.data in servers.started, Event()
    try:
        yield stay
    except BaseException:
        if store.data in servers.started and not before and not stay.is_set():
            with suppress(DuckbookError), hold_data_folder(store, "a command that failed"):
                servers.down(store)
                servers.started.discard(store.data)
        raise


def command(does: Callable) -> Callable:
    """Let a command of the command line leave the servers as it found them where it fails, or is stopped.

    Whoever asks it to stop is heard once, and is heard though DuckDB or dbt make an error of another kind of it.
    """

    @functools.wraps(does)
    def done(*arguments, **options):
        from duckbook.settings import settings

        outcome = None
        try:
            with unstoppable() as stoppable, on_error(settings()), stoppable():
                outcome = does(*arguments, **options)
        except KeyboardInterrupt:
            name = does.__name__.replace("_", "-")
            click.echo(f"{name} was stopped, and left nothing half done: do it again to do all of it.", err=True)
            raise
        return outcome

    return done
