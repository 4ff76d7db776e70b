"""Servers that were down before a command that fails are down after it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from duckbook.errors import DuckbookError

if TYPE_CHECKING:
    from duckbook.settings import Settings


@contextmanager
def on_error(store: Settings) -> Iterator[None]:
    """Stop the embedded servers again where the block fails, if it started them and nobody else is at work by then."""
    from duckbook import servers
    from duckbook.lock import one_writer

    before = store.data in servers.started
    try:
        yield
    except BaseException:
        if store.data in servers.started and not before:
            with suppress(DuckbookError), one_writer(store, "a command that failed"):
                servers.down(store)
                servers.started.discard(store.data)
        raise


def command(does: Callable) -> Callable:
    """Let a command of the command line leave the servers as it found them where it fails."""

    @functools.wraps(does)
    def done(*arguments, **options):
        from duckbook.settings import settings

        with on_error(settings()):
            return does(*arguments, **options)

    return done
