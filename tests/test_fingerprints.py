"""A Postgres table that was written to is known by its fingerprint, whether its rows are looked at or not."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import psycopg
import pytest
from duckbook import fingerprints, sources
from duckbook.endpoints import Endpoints
from duckbook.settings import Settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import conninfo

TABLE = "ecom.interactions"

WRITES = {
    "insert": f"insert into {TABLE} values (1), (2), (3)",
    "update": f"update {TABLE} set event_id = event_id",
    "delete": f"delete from {TABLE} where event_id = 2",
    "one for another": f"begin; delete from {TABLE} where event_id = 1; insert into {TABLE} values (1); commit",
    "truncate": f"truncate {TABLE}",
    "vacuum": f"vacuum full {TABLE}",
    "comment": f"""comment on table {TABLE} is '{{"date": "2026-06-30"}}'""",
    "again": f"drop table {TABLE}; create table {TABLE} as select generate_series(1, 3) as event_id",
    "lost counts": f"select pg_stat_reset_single_table_counters('{TABLE}'::regclass)",
    "nothing": "select 1",
}


class Landing:
    """A database of its own, so that no other test's session is in it."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        with psycopg.connect(endpoints.postgres_dsn, autocommit=True) as connection:
            connection.execute("drop database if exists counted with (force)")
            connection.execute("create database counted")
        dsn = conninfo.make_conninfo(endpoints.postgres_dsn, dbname="counted")
        self.settings, self.endpoints = settings, replace(endpoints, postgres_dsn=dsn)
        self.run("create schema ecom", WRITES["again"].partition("; ")[2])

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.endpoints.postgres_dsn, autocommit=True)

    def run(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                for part in statement.split("; "):
                    connection.execute(part)

    def fingerprint(self, *, remembered: bool = True) -> str:
        if not remembered:
            (self.settings.data / "fingerprints.json").unlink(missing_ok=True)
        relations = sources.describe(self.settings, self.endpoints, ["interactions"])
        return fingerprints.find(self.settings, self.endpoints, relations)["postgres:ecom.interactions"]

    def looks_at_rows(self) -> bool:
        with patch.object(fingerprints, "_summed", wraps=fingerprints._summed) as summed:
            self.fingerprint()
        return summed.called


@pytest.fixture(scope="module")
def landing(tmp_path_factory, endpoints) -> Landing:
    settings = Settings(data=tmp_path_factory.mktemp("counted"), postgres_schema="ecom", _env_file=None)
    return Landing(settings, endpoints)


@hypothesis_settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(done=st.lists(st.tuples(st.sampled_from(sorted(WRITES)), st.booleans()), min_size=1, max_size=6))
def test_what_is_remembered_is_what_a_look_at_all_rows_finds(landing, done):
    landing.fingerprint()
    with landing.connect() as staying:
        for name, stays in done:
            if stays:
                for part in WRITES[name].split("; "):
                    staying.execute(part)
            else:
                landing.run(WRITES[name])
            assert landing.fingerprint() == landing.fingerprint(remembered=False), done
    assert landing.fingerprint() == landing.fingerprint(remembered=False), done


def test_rows_that_nobody_wrote_to_are_not_looked_at_again(landing):
    landing.run(WRITES["insert"])
    landing.fingerprint(remembered=False)
    assert not landing.looks_at_rows()
    landing.run(WRITES["one for another"])
    assert landing.looks_at_rows()
    assert not landing.looks_at_rows()


def test_rows_are_looked_at_while_a_session_may_have_counts_to_tell(landing):
    landing.run(WRITES["insert"])
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
    dsn = conninfo.make_conninfo(landing.endpoints.postgres_dsn, user="only_reads", password="reads")
    owner, landing.endpoints = landing.endpoints, replace(landing.endpoints, postgres_dsn=dsn)
    try:
        assert landing.fingerprint() == landing.fingerprint(remembered=False)
        with psycopg.connect(owner.postgres_dsn):
            assert landing.looks_at_rows()
    finally:
        landing.endpoints = owner
        landing.run("drop owned by only_reads", "drop role only_reads")


def test_a_file_of_remembered_counts_that_is_damaged_is_only_lost(landing):
    before = landing.fingerprint()
    (landing.settings.data / "fingerprints.json").write_text("{", "utf-8")
    assert landing.fingerprint() == before
