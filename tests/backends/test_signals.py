"""What is asked to stop: when it is heard, and that no program that is started ignores more than before."""

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
def heard(request) -> Iterator[list[int]]:
    """Who was heard: the signal that is asked with comes first."""
    told = [request.param]
    before = signal.signal(request.param, lambda number, _: told.append(number))
    yield told
    signal.signal(request.param, before)


def test_who_asks_is_heard_where_it_can_be_stopped_and_once(heard):
    (asked,) = heard
    with unstoppable() as stoppable:
        signal.raise_signal(asked)
        assert heard == [asked]
        with stoppable():
            signal.raise_signal(asked)
            signal.raise_signal(asked)
        signal.raise_signal(asked)
        assert heard == [asked] * 2
    signal.raise_signal(asked)
    assert heard == [asked] * 3


def test_what_hangs_while_it_is_put_in_order_can_be_stopped_again(heard, monkeypatch):
    (asked,) = heard
    monkeypatch.setattr(signals, "IGNORE_SECONDS", 0)
    with unstoppable() as stoppable, stoppable():
        signal.raise_signal(asked)
        signal.raise_signal(asked)
    assert heard == [asked] * 3


@pytest.mark.parametrize("becomes", [None, RuntimeError("Query interrupted")])
def test_a_stop_that_is_lost_on_the_way_is_heard_at_the_end(becomes):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with unstoppable() as stoppable, pytest.raises(KeyboardInterrupt), stoppable():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                if becomes:
                    raise becomes from None
        with pytest.raises(ValueError, match="of its own"), unstoppable() as stoppable, stoppable():
            raise ValueError("of its own")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stop_that_nobody_handles_ends_the_process_as_ever():
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


def test_programs_that_are_started_ignore_what_was_ignored_before_and_nothing_else():
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


def test_a_stop_that_comes_amid_an_import_is_heard_when_that_is_made(tmp_path, monkeypatch):
    """A library that makes do without another one would take it for one that is not there."""
    (tmp_path / "hears_amid_it.py").write_text(
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
            import hears_amid_it

            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)
    assert hears_amid_it.is_slow_to_import is not None
