"""Signals that ask a process to stop: Ctrl-C, SIGTERM, and SIGHUP of a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def unstoppable() -> Iterator[None]:
    """What is done in the block is done to its end, whoever asks to stop meanwhile; what it starts can be stopped."""
    if threading.current_thread() is not threading.main_thread():  # which no signal interrupts
        yield
        return
    # A handler of ours, because a program that is started would go on ignoring what is ignored here.
    before = {asked: signal.signal(asked, lambda *_: None) for asked in ASKING}
    try:
        yield
    finally:
        for asked, handler in before.items():
            signal.signal(asked, handler)
