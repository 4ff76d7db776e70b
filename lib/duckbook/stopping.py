"""Signals that ask a process to stop: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def unstoppable() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """What is done in the block is done to its end, whoever asks to stop meanwhile, but for what it lets be stopped.

    Yields
    ------
    Callable
        ``stoppable()``: a block in which the first who asks is heard, by the handler that was there before. Nobody
        is heard from then on, so that what was stopped can be put in order.
    """
    if threading.current_thread() is not threading.main_thread():  # which no signal interrupts
        yield nullcontext
        return
    listening = False

    def hear(number: int, frame) -> None:
        nonlocal listening
        if not listening:
            return
        listening = False
        if callable(before[number]):
            before[number](number, frame)
        else:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    @contextmanager
    def stoppable() -> Iterator[None]:
        nonlocal listening
        listening = True
        try:
            yield
        finally:
            listening = False

    # Programs that are started inherit what is ignored, and no handler: hence nothing is ignored that was not before.
    before = {asked: signal.getsignal(asked) for asked in ASKING}
    ours = [asked for asked, handler in before.items() if handler not in {signal.SIG_IGN, None}]
    try:
        for asked in ours:
            signal.signal(asked, hear)
        yield stoppable
    finally:
        for asked in ours:
            signal.signal(asked, before[asked])
