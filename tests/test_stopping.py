"""What is asked to stop: when it is heard, and that no program that is started ignores more than before."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from duckbook.stopping import unstoppable

IGNORED = "import signal; print(*(signal.getsignal(n) == signal.SIG_IGN for n in (2, 15, 1)))"


def ignored() -> str:
    return subprocess.run([sys.executable, "-c", IGNORED], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_who_asks_is_heard_once_and_only_where_it_can_be_stopped(asked):
    heard = []
    before = signal.signal(asked, lambda number, _: heard.append(number))
    try:
        with unstoppable() as stoppable:
            signal.raise_signal(asked)
            assert heard == []
            with stoppable():
                signal.raise_signal(asked)
                signal.raise_signal(asked)
            signal.raise_signal(asked)
            assert heard == [asked]
        signal.raise_signal(asked)
        assert heard == [asked, asked]
    finally:
        signal.signal(asked, before)


def test_a_stop_that_nobody_handles_ends_the_process_as_ever():
    code = (
        "import signal; from duckbook.stopping import unstoppable\n"
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
        with unstoppable() as stoppable:
            assert ignored() == outside == "False False True"
            with stoppable():
                assert ignored() == outside
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
