"""A Postgres table that was written to is known by its fingerprint, whether its rows are looked at or not."""

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
    """A database of its own, so that no other test's session is in it."""

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

    def fingerprint(self, *, remembered: bool = True, name: str = "interactions") -> str:
        if not remembered:
            (self.settings.data / "fingerprints.json").unlink(missing_ok=True)
        relations = sources.describe(self.settings, self.endpoints, [name])
        return fingerprints.find(self.settings, self.endpoints, relations)[f"postgres:ecom.{name}"]

    def looks_at_rows(self) -> bool:
        with patch.object(fingerprints, "_summed", wraps=fingerprints._summed) as summed:
            self.fingerprint()
        return summed.called

    def looks_at_rows_in_the_end(self) -> bool:
        """Whether it does when sessions that were closed have ended, which takes them a moment."""
        return all(self.looks_at_rows() for _ in range(20))


@pytest.fixture(scope="module")
def landing(tmp_path_factory, endpoints) -> Landing:
    settings = Settings(data=tmp_path_factory.mktemp("counted"), postgres_schema="ecom", _env_file=None)
    return Landing(settings, endpoints)


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example(done=["a child's rows", "a child's rows"], stays=False)
@given(done=st.lists(st.sampled_from(sorted(WRITES)), min_size=1, max_size=6), stays=st.booleans())
def test_what_is_remembered_is_what_a_look_at_all_rows_finds(landing, done, stays):
    landing.run(WRITES["again"])
    landing.fingerprint()
    with landing.connect() if stays else nullcontext() as session:
        for name in done:
            landing.run(WRITES[name], session=session)
            remembered = landing.fingerprint()
            assert remembered == landing.fingerprint(remembered=False), done
    assert landing.fingerprint() == landing.fingerprint(remembered=False), done


def test_rows_that_nobody_wrote_to_are_not_looked_at_again(landing):
    landing.run(WRITES["again"])
    landing.fingerprint(remembered=False)
    assert not landing.looks_at_rows_in_the_end()
    landing.run(WRITES["one for another"])
    assert landing.looks_at_rows()
    assert not landing.looks_at_rows_in_the_end()


def test_a_materialized_view_that_is_refreshed_is_another(landing):
    landing.run(
        WRITES["again"],
        f"create materialized view ecom.latest_interactions as select event_id from {TABLE}",
        "create unique index on ecom.latest_interactions (event_id)",
    )
    before = landing.fingerprint(name="latest_interactions")
    landing.run(f"insert into {TABLE} values (9)", "refresh materialized view concurrently ecom.latest_interactions")
    after = landing.fingerprint(name="latest_interactions")
    assert before != after == landing.fingerprint(remembered=False, name="latest_interactions")


def test_rows_are_looked_at_where_writes_are_not_counted(landing):
    landing.fingerprint()
    landing.run("alter database counted set track_counts = off")
    try:
        landing.run(WRITES["insert"])
        assert landing.fingerprint() == landing.fingerprint(remembered=False)
    finally:
        landing.run("alter database counted reset track_counts")
    assert landing.looks_at_rows()


def test_rows_are_looked_at_while_a_session_may_have_counts_to_tell(landing):
    landing.run(WRITES["again"])
    landing.fingerprint(remembered=False)
    with landing.connect() as other:
        # Of the first write a session tells at once, of the next ones after a while.
        for _ in range(3):
            before = landing.fingerprint()
            other.execute(WRITES["update"])
            assert landing.fingerprint() != before
        other.execute("begin")
        assert landing.looks_at_rows()
        other.execute("rollback")


def test_rows_are_looked_at_where_others_sessions_may_not_be_seen(landing):
    landing.run(
        "drop role if exists only_reads",
        "create role only_reads login password 'reads'",
        "grant usage on schema ecom to only_reads",
        f"grant select on {TABLE} to only_reads",
    )
    dsn = extensions.make_dsn(landing.endpoints.postgres_dsn, user="only_reads", password="reads")
    owner, landing.endpoints = landing.endpoints, replace(landing.endpoints, postgres_dsn=dsn)
    try:
        assert landing.fingerprint() == landing.fingerprint(remembered=False)
        with postgres_servers.connect(owner.postgres_dsn):
            assert landing.looks_at_rows()
    finally:
        landing.endpoints = owner
        landing.run("drop owned by only_reads", "drop role only_reads")


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        ("select pg_terminate_backend(pg_backend_pid()) from {}", ServerError, "Postgres stopped answering"),
        (
            "select 1 / (event_id - event_id) from {}",
            IngestError,
            "Postgres does not tell what is in the landing zone: division by zero",
        ),
    ],
    ids=["it goes away", "it refuses"],
)
def test_what_postgres_does_not_tell_is_an_error_of_one_sentence(landing, query, error, said):
    with patch.object(fingerprints, "SUM", query), pytest.raises(error) as raised:
        landing.fingerprint(remembered=False)
    assert str(raised.value).startswith(said)
    assert str(raised.value).endswith("run this again.")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"postgres:ecom.interactions": 1}'])
def test_a_file_of_remembered_counts_that_is_damaged_is_only_lost(landing, content):
    before = landing.fingerprint()
    (landing.settings.data / "fingerprints.json").write_text(content, "utf-8")
    assert landing.fingerprint() == before
