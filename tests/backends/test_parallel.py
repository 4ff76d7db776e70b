"""Queries that run side by side end together: whole, with the error of the first that fails, or when stopped."""

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


def test_outcomes_come_in_the_order_of_the_things_and_each_has_tables_of_its_own(engine):
    def squared(cursor: duckdb.DuckDBPyConnection, number: int) -> int:
        cursor.execute("create temp table mine as select ? as n", [number])
        return cursor.execute("select n * n from mine").fetchone()[0]

    assert parallel.run_concurrently(engine, squared, range(20)) == [n * n for n in range(20)]
    assert parallel.run_concurrently(engine, squared, []) == []


def test_an_error_stops_what_runs_beside_it_and_is_the_one_that_is_told(engine):
    both, begun, ended = threading.Barrier(2), [], []

    def work(cursor: duckdb.DuckDBPyConnection, thing: str) -> None:
        begun.append(thing)
        if thing != "comes next":
            both.wait()
        if thing == "fails":
            raise ValueError("this one")
        try:
            cursor.execute(ENDLESS)
        finally:
            ended.append(thing)

    with pytest.raises(ValueError, match="this one"):
        parallel.run_concurrently(engine, work, ["endless", "fails", "comes next"])
    assert sorted([*ended, "fails"]) == sorted(begun), "nothing of what had begun runs on"
    assert engine.execute("select 1").fetchone() == (1,), "the connection goes on"


INTERRUPTED = f"""
import os, signal, threading
import duckdb
from duckbook.backends import parallel

# Whoever is started in the background may have been told to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
both = threading.Barrier(2, action=lambda: print("both run", flush=True))

def work(cursor, thing):
    both.wait()
    try:
        cursor.execute({ENDLESS!r})
    finally:
        # In one piece: print writes a line and its end apart, and another thread may come between.
        os.write(1, b"ended\\n")

parallel.run_concurrently(duckdb.connect(), work, range(2))
"""


def test_an_interrupt_from_the_keyboard_stops_them_all():
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
