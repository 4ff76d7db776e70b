"""Leases of several machines in one S3: only the holder commits, and no machine deletes another's files."""

from __future__ import annotations

import json
import threading
import time

import pytest
from chains import Memory, write_chain
from duckbook.backends import lease, lock, servers, storage
from duckbook.backends.lease import Lease
from duckbook.backends.lock import one_writer
from duckbook.errors import ChainError, DuckbookError, LeaseError
from duckbook.ingest import commit_log, raw
from duckbook.runs import run_archive
from duckbook.runs.request import Request
from duckbook.runs.runner import run
from landing_zone import Shop, lines, order


@pytest.fixture
def shared(endpoints, tmp_path) -> tuple[Shop, Shop]:
    """Two machines with a data folder each, and one landing zone and history."""
    one, other = Shop(tmp_path / "one", endpoints, "leased"), Shop(tmp_path / "other", endpoints, "leased")
    one.clear()
    for shop in (one, other):
        shop.settings.data.mkdir()
    return one, other


def lease_of(shop: Shop, seconds: float = lease.SECONDS) -> Lease:
    token_file = shop.settings.data / "test.lease"
    return Lease(shop.client, shop.settings.s3_historic_bucket, "test", "a test", token_file, seconds)


def test_a_second_claim_returns_the_holder(shared):
    one, other = map(lease_of, shared)
    assert one.take() is None
    holding = other.take()
    assert str(shared[0].settings.data) in holding.holder
    assert 80 < holding.seconds_left <= lease.SECONDS
    with one.renewing():
        one.renew()
    assert shared[0].history_keys() == []
    assert other.take() is None


def test_only_one_of_many_concurrent_claims_succeeds(shared):
    claims = [lease_of(shared[n % 2]) for n in range(8)]
    for n, each in enumerate(claims):
        each.token_file = each.token_file.with_name(f"{n}.lease")
    results = []
    threads = [threading.Thread(target=lambda each=each: results.append(each.take())) for each in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(None) == 1


def test_a_lease_without_renewal_expires_and_its_holder_stops(shared):
    one, other = lease_of(shared[0], seconds=4), lease_of(shared[1])
    assert one.take() is None
    assert other.take() is not None
    time.sleep(4.5)
    with pytest.raises(LeaseError, match="was not renewed in time"):
        one.check()
    assert other.take() is None
    with pytest.raises(LeaseError, match="a test stops here and commits nothing more"):
        one.renew()


def test_renewing_a_lease_that_another_has_taken_is_an_error(shared):
    one, other = map(lease_of, shared)
    assert one.take() is None
    storage.delete(one.client, one.bucket, one.key)
    assert other.take() is None
    one.check()
    with pytest.raises(LeaseError, match=f"A test of {shared[1].settings.data} on .* has it"):
        one.renew()
    with pytest.raises(LeaseError):
        one.check()


def test_a_lease_is_renewed_during_the_block(shared, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.5)
    one, other = lease_of(shared[0], seconds=4), lease_of(shared[1])
    assert one.take() is None
    with one.renewing():
        time.sleep(5)
        assert other.take() is not None
        one.check()


def test_a_lease_of_a_killed_process_is_taken_over_in_its_data_folder(shared):
    for _ in range(3):
        assert lease_of(shared[0]).take() is None
        assert lease_of(shared[1]).take() is not None


# Two concurrent ingests


def land(shop: Shop) -> None:
    shop.land("orders/a.ndjson", lines(*map(order, range(50)), "{oops"))
    shop.land("customers/c.ndjson", lines({"customer_id": "c-1"}))


def count_rebuilt_orders(shop: Shop) -> int:
    """Rebuild raw from the history and return its number of orders."""
    raw.rebuild(shop.settings, shop.endpoints)
    shop.check_row_counts()
    return len(shop.raw())


def test_files_that_another_machine_committed_are_not_deleted(shared, monkeypatch):
    """One machine was killed after writing files, reads the log, hangs until its lease has expired, and goes on.

    The other has ingested the same landing zone in the meantime: with equal keys for equal batches its files would be
    deleted.
    """
    one, other = shared
    land(one)
    with monkeypatch.context() as killed:
        killed.setattr(commit_log, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            one.ingest()
    left = {key for key in one.history_keys() if key.endswith(".parquet")}
    assert left
    real = commit_log.read

    def hang_after_reading(client, bucket):
        log = real(client, bucket)
        monkeypatch.undo()
        time.sleep(4.5)
        assert other.ingest().number == 1
        return log

    monkeypatch.setattr(lease, "SECONDS", 4)
    monkeypatch.setattr("duckbook.ingest.transaction.Lease", lambda *given: Lease(*given, seconds=4))
    monkeypatch.setattr(lease, "RENEW_SECONDS", 1000)
    monkeypatch.setattr(commit_log, "read", hang_after_reading)
    with pytest.raises(LeaseError, match=r"was not renewed in time\), so an ingest stops here and commits nothing"):
        one.ingest()
    assert count_rebuilt_orders(other) == 50
    assert count_rebuilt_orders(one) == 50
    one.ingest()
    assert count_rebuilt_orders(one) == 50
    assert not left & set(one.history_keys())


def test_two_concurrent_ingests_take_turns(shared):
    one, other = shared
    land(one)
    reports = {}
    threads = [threading.Thread(target=lambda s=shop: reports.setdefault(s, s.ingest())) for shop in shared]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(reports[shop].number) for shop in shared) == ["1", "None"]
    assert count_rebuilt_orders(one) == count_rebuilt_orders(other) == 50


# A shared lake


@pytest.fixture
def lakes(external_settings, tmp_path):
    """Two data folders with one lake, in external Postgres and S3."""
    mine = external_settings.model_copy(update={"target": "lake", "lake_schema": "leased"})
    return mine, mine.model_copy(update={"data": tmp_path / "theirs", "runs": tmp_path / "their runs"})


def test_a_lost_connection_to_postgres_does_not_let_a_second_run_begin(lakes, external_endpoints):
    import postgres_servers

    mine, theirs = lakes
    servers.up(mine)
    with one_writer(mine, "a run of the chain"):
        with postgres_servers.connect(external_endpoints.postgres_dsn, autocommit=True) as postgres:
            postgres.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid != pg_backend_pid() "
                "and backend_type = 'client backend'"
            )
        with (
            pytest.raises(ChainError, match=r"A run of the chain of .* is at work on the lake leased"),
            one_writer(theirs, "a run of the chain"),
        ):
            pass
    with one_writer(theirs, "a run of the chain"):
        pass


@pytest.fixture
def half_own(lakes, external_endpoints):
    """A data folder with that lake and an embedded Postgres, and foreign data in its landing zone."""
    names = {"s3_historic_bucket": "refused-past", "s3_latest_bucket": "refused-new", "postgres_dsn": None}
    shop = lakes[0].model_copy(update=names)
    client = storage.client(external_endpoints.s3)
    for table in ("orders", "order_items"):
        body = lines(order(1) | {"order_item_id": 1, "quantity": 1})
        storage.ensure_bucket(client, shop.s3_historic_bucket)
        storage.put_bytes(client, shop.s3_historic_bucket, f"json/{table}/date=2026-06-30/{table}.ndjson", body)
    yield shop, client
    servers.down(shop)


@pytest.mark.parametrize("refused_by", ["the lease", "a missing lake", "the disk"])
def test_a_run_that_does_not_begin_leaves_no_server_running(half_own, tmp_path, monkeypatch, refused_by):
    shop, client = half_own
    steps, message = {"first": "ingest", "last": "ingest", "generate": False}, "is at work on the lake leased"
    token_file = tmp_path / "elsewhere" / "test.lease"
    token_file.parent.mkdir()
    held = Lease(client, shop.s3_historic_bucket, "lake-leased", "a test", token_file)
    if refused_by == "the disk":

        def begin(*_arguments, **_values):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(run_archive.Run, "begin", begin)
        message = "No space left"
    else:
        assert held.take() is None
    if refused_by == "a missing lake":
        # The lease of another machine is no reason to keep the servers.
        steps, message = {"only": "explore_sales"}, "There is no lake leased yet|Nothing has been published yet"
    with held.renewing(), pytest.raises((DuckbookError, OSError), match=message):
        run(shop, Request(**steps), Memory())
    assert (shop.data / "servers" / "postgres").is_dir(), "it was started"
    assert servers.status(shop)[0]["state"] == "stopped"


def test_a_run_that_loses_its_lease_stops_with_a_message(lakes, tmp_path, monkeypatch):
    mine, theirs = lakes
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.3)

    class TakeLease(Memory):
        def step_started(self, step) -> None:
            super().step_started(step)
            client = storage.client(servers.up(theirs).s3)
            held = lease.find(client, theirs.s3_historic_bucket, "lake-leased")
            assert held.content["what"] == "a run of the chain"
            other = Lease(client, theirs.s3_historic_bucket, "lake-leased", "another run", tmp_path / "other.lease")
            storage.put_bytes(client, theirs.s3_historic_bucket, other.key, json.dumps(other.content).encode())

    chain = write_chain(tmp_path / "nb", "never_ends", "never=succeeds")
    record = run(mine, Request(generate=False), TakeLease(), chain).record
    assert record["status"] == "failed"
    assert "Another run of" in record["error"]
    assert "so a run of the chain stops here and commits nothing more" in record["error"]
    assert [step["status"] for step in record["steps"]] == ["interrupted", "skipped"]
    assert json.loads((mine.runs / run_archive.latest(mine.runs).name / "run.json").read_text())["status"] == "failed"
    client = storage.client(servers.up(theirs).s3)
    storage.delete(client, theirs.s3_historic_bucket, f"{lease.PREFIX}lake-leased.json")


def test_a_kernel_of_a_run_without_the_lease_commits_nothing(lakes, external_endpoints, monkeypatch):
    mine, theirs = lakes
    landed = Shop(mine.data, external_endpoints, "kernels")
    landed.clear()
    land(landed)
    chosen = {"s3_historic_bucket": "kernels-past", "s3_latest_bucket": "kernels-new", "postgres_schema": "kernels"}
    mine, theirs = (settings.model_copy(update=chosen) for settings in lakes)
    endpoints = servers.up(mine)
    landed.ingest()
    with one_writer(theirs, "a run of the chain") as held:
        monkeypatch.setattr(lock, "_leases", [])  # As in another process.
        monkeypatch.setenv(lock.TOKEN, "token of an interrupted run")
        with pytest.raises(LeaseError, match=r"This run no longer holds the lake leased .*has it"):
            raw.load(mine, endpoints)
        monkeypatch.setenv(lock.TOKEN, held.token)
        assert raw.load(mine, endpoints).commits == (1,)
        monkeypatch.setattr(lock, "_leases", [held])
