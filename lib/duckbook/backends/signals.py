"""Signals that ask a process to stop: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

# Handlers are given back in this order: a Ctrl-C that falls in between is not heard either.
ASKING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))

DEAF_SECONDS = 10
"""For so long nobody else is heard: what is being stopped is put in order by then, or hangs."""


AGAIN_SECONDS = 0.01


def is_put_off(number: int, frame: FrameType | None) -> bool:
    """Whether a signal comes while a module is imported; it is then sent again in a moment.

    What is raised there is lost where a library makes do without another one, or in a callback of Python's own, or
    leaves a lock behind for which every other thread waits forever.
    """
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is not None:
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()
    return frame is not None


@contextmanager
def unstoppable() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """What is done in the block is done to its end, but for what it lets be stopped; who asks meanwhile is not heard.

    Yields
    ------
    Callable
        ``stoppable()``: a block in which who asks is heard, by the handler that was there before. What this one raises
        is raised again at the block's end where it was lost on the way, as in a finalizer or a query of DuckDB.
    """
    if threading.current_thread() is not threading.main_thread():  # which no signal interrupts
        yield nullcontext
        return
    listens_from, raised = float("inf"), None

    def hear(number: int, frame) -> None:
        nonlocal listens_from, raised
        if time.monotonic() < listens_from or is_put_off(number, frame):
            return
        listens_from = time.monotonic() + DEAF_SECONDS
        if not callable(before[number]):
            signal.signal(number, before[number])
            signal.raise_signal(number)
            return
        try:
            before[number](number, frame)
        except BaseException as stop:
            raised = stop
            raise

    @contextmanager
    def stoppable() -> Iterator[None]:
        nonlocal listens_from
        listens_from = 0.0
        try:
            yield
        except Exception:
            if raised is None:
                raise
        finally:
            listens_from = float("inf")
        if raised is not None:
            raise raised

    # Programs that are started inherit what is ignored, and no handler: hence nothing is ignored that was not before.
    before = {asked: signal.getsignal(asked) for asked in ASKING}
    ours = [asked for asked, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for asked in ours:
            signal.signal(asked, hear)
        yield stoppable
    finally:
        for asked in ours:
            signal.signal(asked, before[asked])
