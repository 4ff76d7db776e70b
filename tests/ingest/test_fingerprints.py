"""A Postgres table's fingerprint changes with every write, whether it is cached or computed from the rows."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import postgres_servers
import pytest
from duckbook.errors import IngestError, ServerError
from duckbook.ingest import fingerprints, sources
from duckbook.settings import Endpoints, Settings
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg2 import extensions

TABLE = "ecom.interactions"

WRITES = {
    "insert": f"insert into {TABLE} values (1), (2), (3)",
    "update": f"update {TABLE} set event_id = event_id",
    "delete": f"delete from {TABLE} where event_id = 2",
    "one for another": f"begin; delete from {TABLE} where event_id = 1; insert into {TABLE} values (1); commit",
    "truncate": f"truncate {TABLE}",
    "vacuum": f"vacuum full {TABLE}",
    "comment": f"""comment on table {TABLE} is '{{"date": "2026-06-30"}}'""",
    "again": f"drop table if exists {TABLE} cascade; create table {TABLE} as select generate_series(1, 3) as event_id",
    "lost counts": f"select pg_stat_reset_single_table_counters('{TABLE}'::regclass)",
    "a child's rows": f"create table if not exists ecom.child () inherits ({TABLE}); insert into ecom.child values (4)",
    "more of them": f"insert into {TABLE} values (5); update {TABLE} set event_id = 6 where event_id = 5",
    "nothing": "select 1",
}


class Landing:
    """A database without sessions of other tests."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        with postgres_servers.connect(endpoints.postgres_dsn, autocommit=True) as connection:
            connection.execute("drop database if exists counted with (force)")
            connection.execute("create database counted")
        dsn = extensions.make_dsn(endpoints.postgres_dsn, dbname="counted")
        self.settings, self.endpoints = settings, replace(endpoints, postgres_dsn=dsn)
        self.run("create schema ecom", WRITES["again"])

    def connect(self) -> AbstractContextManager[postgres_servers.Connection]:
        return postgres_servers.connect(self.endpoints.postgres_dsn, autocommit=True)

    def run(self, *statements: str, session: postgres_servers.Connection | None = None) -> None:
        with nullcontext(session) if session else self.connect() as connection:
            for statement in statements:
                for part in statement.split("; "):
                    connection.execute(part)

    def fingerprint(self, *, cached: bool = True, name: str = "interactions") -> str:
        if not cached:
            (self.settings.data / "fingerprints.json").unlink(missing_ok=True)
        relations = sources.describe(self.settings, self.endpoints, [name])
        return fingerprints.find(self.settings, self.endpoints, relations)[f"postgres:ecom.{name}"]

    def scans_rows(self) -> bool:
        with patch.object(fingerprints, "_row_version_sum", wraps=fingerprints._row_version_sum) as scan:
            self.fingerprint()
        return scan.called

    def scans_rows_eventually(self) -> bool:
        """Whether it still does when closed sessions have ended, which takes a moment."""
        return all(self.scans_rows() for _ in range(20))


@pytest.fixture(scope="module")
def landing(tmp_path_factory, endpoints) -> Landing:
    settings = Settings(data=tmp_path_factory.mktemp("counted"), postgres_schema="ecom", _env_file=None)
    return Landing(settings, endpoints)


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example(names=["a child's rows", "a child's rows"], stays=False)
@given(names=st.lists(st.sampled_from(sorted(WRITES)), min_size=1, max_size=6), stays=st.booleans())
def test_a_cached_fingerprint_equals_a_computed_one(landing, names, stays):
    landing.run(WRITES["again"])
    landing.fingerprint()
    with landing.connect() if stays else nullcontext() as session:
        for name in names:
            landing.run(WRITES[name], session=session)
            from_cache = landing.fingerprint()
            assert from_cache == landing.fingerprint(cached=False), names
    assert landing.fingerprint() == landing.fingerprint(cached=False), names


def test_a_table_without_writes_is_not_scanned_again(landing):
    landing.run(WRITES["again"])
    landing.fingerprint(cached=False)
    assert not landing.scans_rows_eventually()
    landing.run(WRITES["one for another"])
    assert landing.scans_rows()
    assert not landing.scans_rows_eventually()


def test_refreshing_a_materialized_view_changes_its_fingerprint(landing):
    landing.run(
        WRITES["again"],
        f"create materialized view ecom.latest_interactions as select event_id from {TABLE}",
        "create unique index on ecom.latest_interactions (event_id)",
    )
    before = landing.fingerprint(name="latest_interactions")
    landing.run(f"insert into {TABLE} values (9)", "refresh materialized view concurrently ecom.latest_interactions")
    after = landing.fingerprint(name="latest_interactions")
    assert before != after == landing.fingerprint(cached=False, name="latest_interactions")


def test_rows_are_scanned_if_writes_are_not_counted(landing):
    landing.fingerprint()
    landing.run("alter database counted set track_counts = off")
    try:
        landing.run(WRITES["insert"])
        assert landing.fingerprint() == landing.fingerprint(cached=False)
    finally:
        landing.run("alter database counted reset track_counts")
    assert landing.scans_rows()


def test_rows_are_scanned_while_a_session_may_have_unflushed_counters(landing):
    landing.run(WRITES["again"])
    landing.fingerprint(cached=False)
    with landing.connect() as other:
        # A session flushes the counter of its first write at once, and of later ones after a while.
        for _ in range(3):
            before = landing.fingerprint()
            other.execute(WRITES["update"])
            assert landing.fingerprint() != before
        other.execute("begin")
        assert landing.scans_rows()
        other.execute("rollback")


def test_rows_are_scanned_if_other_sessions_are_not_visible(landing):
    landing.run(
        "drop role if exists only_reads",
        "create role only_reads login password 'reads'",
        "grant usage on schema ecom to only_reads",
        f"grant select on {TABLE} to only_reads",
    )
    dsn = extensions.make_dsn(landing.endpoints.postgres_dsn, user="only_reads", password="reads")
    owner, landing.endpoints = landing.endpoints, replace(landing.endpoints, postgres_dsn=dsn)
    try:
        assert landing.fingerprint() == landing.fingerprint(cached=False)
        with postgres_servers.connect(owner.postgres_dsn):
            assert landing.scans_rows()
    finally:
        landing.endpoints = owner
        landing.run("drop owned by only_reads", "drop role only_reads")


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("select pg_terminate_backend(pg_backend_pid()) from {}", ServerError, "Postgres stopped answering"),
        (
            "select 1 / (event_id - event_id) from {}",
            IngestError,
            "Postgres refused to list the landing zone: division by zero",
        ),
    ],
    ids=["it goes away", "it refuses"],
)
def test_a_refusal_of_postgres_is_an_error_of_one_sentence(landing, query, error, message):
    with patch.object(fingerprints, "SUM", query), pytest.raises(error) as raised:
        landing.fingerprint(cached=False)
    assert str(raised.value).startswith(message)
    assert str(raised.value).endswith("run this again.")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"postgres:ecom.interactions": 1}'])
def test_a_damaged_cache_is_ignored(landing, content):
    before = landing.fingerprint()
    (landing.settings.data / "fingerprints.json").write_text(content, "utf-8")
    assert landing.fingerprint() == before
