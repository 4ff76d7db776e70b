"""Stop embedded servers again that a failed command started."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from duckbook.backends.signals import unstoppable
from duckbook.errors import DuckbookError

if TYPE_CHECKING:
    from duckbook.settings import Settings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def on_error(settings: Settings) -> Iterator[Event]:
    """Stop embedded servers that the block started if it fails, unless another process uses them by then.

    Yields
    ------
    Event
        Set it to keep the servers running in any case.
    """
    from duckbook.backends import servers

    started_before, keep = servers.started_here(settings), Event()
    try:
        yield keep
    except BaseException:
        if not started_before and not keep.is_set():
            with suppress(DuckbookError):
                servers.stop_unused(settings)
        raise


def command(function: Callable[Arguments, Result]) -> Callable[Arguments, Result | None]:
    """Decorate a command so that it stops the servers it started if it fails or is interrupted.

    An interrupt is handled once, even if DuckDB or dbt turn it into another error.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result | None:
        from duckbook.settings import settings

        result = None
        try:
            with unstoppable() as stoppable, on_error(settings()), stoppable():
                result = function(*arguments, **options)
        except KeyboardInterrupt:
            name = function.__name__.replace("_", "-")
            click.echo(f"{name} was stopped: run it again to do all of it.", err=True)
            raise
        return result

    return wrapper
