"""Stop signals: when they are handled, and which ones child processes ignore."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from duckbook.backends import signals
from duckbook.backends.signals import unstoppable

IGNORED = "import signal; print(*(signal.getsignal(n) == signal.SIG_IGN for n in (2, 15, 1)))"


def ignored() -> str:
    return subprocess.run([sys.executable, "-c", IGNORED], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def handled(request) -> Iterator[list[int]]:
    """Yield the signals that were handled; the first is the one to send."""
    received = [request.param]
    before = signal.signal(request.param, lambda number, _: received.append(number))
    yield received
    signal.signal(request.param, before)


def test_a_signal_is_handled_once_inside_stoppable(handled):
    (number,) = handled
    with unstoppable() as stoppable:
        signal.raise_signal(number)
        assert handled == [number]
        with stoppable():
            signal.raise_signal(number)
            signal.raise_signal(number)
        signal.raise_signal(number)
        assert handled == [number] * 2
    signal.raise_signal(number)
    assert handled == [number] * 3


def test_a_cleanup_that_hangs_can_be_interrupted_again(handled, monkeypatch):
    (number,) = handled
    monkeypatch.setattr(signals, "IGNORE_SECONDS", 0)
    with unstoppable() as stoppable, stoppable():
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert handled == [number] * 3


@pytest.mark.parametrize("replaced_by", [None, RuntimeError("Query interrupted")])
def test_a_lost_interrupt_is_raised_at_the_end(replaced_by):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with unstoppable() as stoppable, pytest.raises(KeyboardInterrupt), stoppable():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                if replaced_by:
                    raise replaced_by from None
        with pytest.raises(ValueError, match="of its own"), unstoppable() as stoppable, stoppable():
            raise ValueError("of its own")
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_unhandled_signal_ends_the_process():
    code = (
        "import signal; from duckbook.backends.signals import unstoppable\n"
        "with unstoppable() as stoppable:\n"
        "    signal.raise_signal(15)\n"
        "    print('goes on', flush=True)\n"
        "    with stoppable():\n"
        "        signal.raise_signal(15)\n"
        "    print('never')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, "goes on\n")


def test_child_processes_ignore_no_additional_signals():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        outside = ignored()
        assert outside.endswith("False True")
        with unstoppable() as stoppable:
            assert ignored() == outside
            with stoppable():
                assert ignored() == outside
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_during_an_import_is_handled_after_it(tmp_path, monkeypatch):
    """A library with an optional dependency would take it for one that is not installed."""
    (tmp_path / "imports_optional.py").write_text(
        "import os, signal, time\n"
        "try:\n    import is_slow_to_import\nexcept BaseException:\n    is_slow_to_import = None\n"
    )
    (tmp_path / "is_slow_to_import.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with unstoppable() as stoppable, pytest.raises(KeyboardInterrupt), stoppable():
            import imports_optional

            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)
    assert imports_optional.is_slow_to_import is not None
