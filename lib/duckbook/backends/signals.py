"""Stop signals: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

# Handlers are restored in this order, so that a Ctrl-C in between is ignored too.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))

IGNORE_SECONDS = 10
"""How long further signals are ignored after the first: cleaning up takes less time, or hangs."""


RESEND_SECONDS = 0.01


def deferred_by_import(number: int, frame: FrameType | None) -> bool:
    """Whether a signal arrives during the import of a module; if so, send it again in a moment.

    An exception raised there is lost in a library's ``except ImportError`` or in a callback of Python, or leaves a lock
    behind that all other threads wait for.
    """
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is not None:
        threading.Timer(RESEND_SECONDS, os.kill, (os.getpid(), number)).start()
    return frame is not None


@contextmanager
def unstoppable() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Ignore stop signals until the block ends, except inside `stoppable()`.

    Yields
    ------
    Callable
        ``stoppable()``: a block in which the previous handler runs. If the exception that it raises is lost on the way,
        as in a finalizer or a query of DuckDB, it is raised again at the end of the block.
    """
    if threading.current_thread() is not threading.main_thread():  # Signals interrupt the main thread only.
        yield nullcontext
        return
    ignored_until = float("inf")
    raised: BaseException | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal ignored_until, raised
        if time.monotonic() < ignored_until or deferred_by_import(number, frame):
            return
        ignored_until = time.monotonic() + IGNORE_SECONDS
        handler = before[number]
        if not callable(handler):
            signal.signal(number, handler)
            signal.raise_signal(number)
            return
        try:
            handler(number, frame)
        except BaseException as exception:
            raised = exception
            raise

    @contextmanager
    def stoppable() -> Iterator[None]:
        nonlocal ignored_until
        ignored_until = 0.0
        try:
            yield
        except Exception:
            if raised is None:
                raise
        finally:
            ignored_until = float("inf")
        if raised is not None:
            raise raised

    # Child processes inherit ignored signals but not handlers, so no further signal is set to SIG_IGN.
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    handled = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in handled:
            signal.signal(number, handle)
        yield stoppable
    finally:
        for number in handled:
            signal.signal(number, before[number])
