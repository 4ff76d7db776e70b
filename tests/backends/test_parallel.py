"""Concurrent queries: order of results, errors and interrupts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import duckdb
import pytest
from duckbook.backends import parallel

ENDLESS = "select count(*) from range(1_000_000_000_000) as a(n), range(1_000) as b(m) where n % 7 = m"


@pytest.fixture
def engine():
    with duckdb.connect(config={"threads": 2}) as connection:
        yield connection


def test_results_are_in_the_order_of_the_inputs_and_temporary_tables_are_separate(engine):
    def squared(cursor: duckdb.DuckDBPyConnection, number: int) -> int:
        cursor.execute("create temp table mine as select ? as n", [number])
        return cursor.execute("select n * n from mine").fetchone()[0]

    assert parallel.run_concurrently(engine, squared, range(20)) == [n * n for n in range(20)]
    assert parallel.run_concurrently(engine, squared, []) == []


def test_the_first_error_is_raised_and_stops_the_other_queries(engine):
    barrier, started, ended = threading.Barrier(2), [], []

    def work(cursor: duckdb.DuckDBPyConnection, value: str) -> None:
        started.append(value)
        if value != "queued":
            barrier.wait()
        if value == "fails":
            raise ValueError("this one")
        try:
            cursor.execute(ENDLESS)
        finally:
            ended.append(value)

    with pytest.raises(ValueError, match="this one"):
        parallel.run_concurrently(engine, work, ["endless", "fails", "queued"])
    assert sorted([*ended, "fails"]) == sorted(started), "every started query has ended"
    assert engine.execute("select 1").fetchone() == (1,), "the connection still works"


INTERRUPTED = f"""
import os, signal, threading
import duckdb
from duckbook.backends import parallel

# A process that is started in the background may inherit SIGINT as ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
barrier = threading.Barrier(2, action=lambda: print("both run", flush=True))

def work(cursor, value):
    barrier.wait()
    try:
        cursor.execute({ENDLESS!r})
    finally:
        # One write: print writes a line and its end separately, and threads would interleave them.
        os.write(1, b"ended\\n")

parallel.run_concurrently(duckdb.connect(), work, range(2))
"""


def test_ctrl_c_stops_all_queries():
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "both run\n", process.communicate()[1]
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert printed == "ended\nended\n"
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
