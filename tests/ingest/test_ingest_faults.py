"""An ingest that is killed at any moment, or whose servers are, ends as if it had run once when it is run again."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date

import psutil
import psycopg2.extensions
import pytest
from duckbook.backends import servers
from duckbook.ingest import raw
from landing_zone import Shop, lines, order

SCRIPT = """
import sys
from datetime import date
from duckbook.ingest import history, raw; from duckbook.backends import servers
from duckbook.settings import settings
endpoints = servers.up(settings())
print("ready", flush=True)
sys.stdin.readline()
history.ingest(settings(), endpoints, date.fromisoformat(sys.argv[1]))
raw.load(settings(), endpoints)
"""

DAYS = (date(2026, 6, 1), date(2026, 6, 2))
"""Each ingest is struck once."""

KILLS, KILLS_IN_SOAK = 4, 50
SERVER_KILLS, SERVER_KILLS_IN_SOAK = 2, 30


@pytest.fixture(scope="module")
def victim(start_shop):
    """A data folder with servers of its own, which may be killed."""
    return start_shop("victim")


@pytest.fixture(scope="module")
def shop(victim) -> Shop:
    return Shop(victim.data, servers.up(victim), "killed")


def land_day(shop: Shop, day: date) -> None:
    """Land the data of a day, which lead to all kinds of files of the history."""
    shop.endpoints = servers.up(shop.settings)
    rows = [order(n, f"status of {n % 7} on {day}" if n % 3 else "new") for n in range(4_000)]
    shop.land(f"orders/date={day}/o.ndjson", lines(*rows, "{oops"))
    shop.land(f"customers/date={day}/c.ndjson", lines(*({"customer_id": n, "age": n} for n in range(2_000))))
    columns = "order_id text, order_item_id int, quantity int"
    shop.land_table("latest_order_items", columns, [(str(n), 1, n) for n in range(500)], str(day))


def start(shop: Shop, day: date) -> subprocess.Popen:
    """Start an ingest in a process of its own, which waits for a line before it begins."""
    s = shop.settings
    environment = os.environ | {
        "DUCKBOOK_DATA": str(s.data),
        "DUCKBOOK_S3_HISTORIC_BUCKET": s.s3_historic_bucket,
        "DUCKBOOK_S3_LATEST_BUCKET": s.s3_latest_bucket,
        "DUCKBOOK_POSTGRES_SCHEMA": s.postgres_schema,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(day)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def finish(shop: Shop, day: date) -> float:
    """Run an ingest in a process of its own to its end, and return the seconds that it took."""
    process = start(shop, day)
    begun = time.monotonic()
    _, errors = process.communicate("go\n", timeout=120)
    assert process.returncode == 0, errors
    return time.monotonic() - begun


def servers_of(shop: Shop) -> list[psutil.Process]:
    """Return the processes of the data folder's own servers, found by the folder in their command line."""
    folder = f"{shop.settings.data}/servers/"
    processes = psutil.process_iter(["cmdline"])
    return [process for process in processes if any(folder in word for word in process.info["cmdline"] or [])]


def clear(shop: Shop) -> None:
    shop.clear()
    for day in DAYS:
        (shop.settings.data / "ingest-open.json").unlink(missing_ok=True)
        shop.take_away(f"orders/date={day}/o.ndjson")


@pytest.fixture(scope="module")
def undisturbed(shop) -> tuple[dict, float]:
    """Raw after an undisturbed ingest of each day, and the seconds that one takes."""
    clear(shop)
    for day in DAYS[:-1]:
        land_day(shop, day)
        shop.ingest(day)
    land_day(shop, DAYS[-1])
    seconds = finish(shop, DAYS[-1])
    return shop.dump(), seconds


def disturbed(shop: Shop, seconds: float, draw: random.Random, strike) -> dict:
    """Return raw after each ingest was struck once, at a random moment, and run again."""
    clear(shop)
    for day in DAYS:
        land_day(shop, day)
        process = start(shop, day)
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(draw.uniform(0, seconds))
        strike(process)
        _, errors = process.communicate(timeout=120)
        if process.returncode > 0:
            assert errors.splitlines()[-1].startswith("duckbook.errors."), "an error is a sentence"
        shop.endpoints = servers.up(shop.settings)
        shop.ingest(day)
    return shop.dump()


def test_an_ingest_killed_at_any_moment_ends_as_if_it_had_run_once(shop, undisturbed, soak):
    dump, seconds = undisturbed
    draw = random.Random(3)
    for _ in range((KILLS_IN_SOAK if soak else KILLS) // len(DAYS)):
        result = disturbed(shop, seconds, draw, lambda process: process.send_signal(signal.SIGKILL))
        assert result == dump


def test_servers_killed_under_an_ingest_end_as_if_it_had_run_once(shop, undisturbed, soak):
    dump, seconds = undisturbed
    draw = random.Random(5)

    def strike(process: subprocess.Popen) -> None:
        for server in draw.choice([servers_of(shop)[:1], servers_of(shop)[1:], servers_of(shop)]):
            with contextlib.suppress(psutil.NoSuchProcess):
                server.kill()

    for _ in range((SERVER_KILLS_IN_SOAK if soak else SERVER_KILLS) // len(DAYS)):
        result = disturbed(shop, seconds, draw, strike)
        assert result == dump


def test_postgres_is_not_needed_to_rebuild(shop, undisturbed):
    nowhere = psycopg2.extensions.make_dsn(host="127.0.0.1", port=1, user="nobody", dbname="nothing")
    before = shop.dump()
    raw.rebuild(shop.settings, replace(servers.up(shop.settings), postgres_dsn=nowhere))
    assert shop.dump() == before
