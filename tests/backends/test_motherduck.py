"""MotherDuck, as far as it can be tried without an account: what is refused before it is asked, and what is sent."""

from __future__ import annotations

import base64
import json
import re
import socket
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest
from chains import duckbook
from duckbook.backends import motherduck, warehouse
from duckbook.errors import ChainError, WarehouseError
from duckbook.ingest import raw
from duckbook.ingest.batches import Batch
from duckbook.runs import chain, prerequisites
from duckbook.runs.request import Request
from duckbook.settings import Settings

UNSUPPORTED = {
    "functions of one's own": r"create\s+(or replace\s+)?(temp(orary)?\s+)?(function|macro)\b",
    "databases attached by the server": r"\battach\b",
    "extensions of others": r"\b(install|load)\s+\w+",
    "indexes": r"create\s+(unique\s+)?index\b",
    "the clock": r"\b(now\(\)|current_timestamp|current_date|get_current_timestamp)",
    "files of this machine": r"\b(read_csv|read_json|read_text|glob)\w*\(",
    "settings of one process": r"\b(pragma|set\s+(global|session|threads|memory_limit))\b",
}
"""What MotherDuck's documentation says its servers do not do, and what would mean something else there."""


def token(**claims) -> str:
    """A token in the shape of MotherDuck's, which opens nothing."""

    def part(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'email': 'me@example.com'} | claims)}.c2lnbmF0dXJl"


def settings(tmp_path: Path, secret: str, **values) -> Settings:
    return Settings(data=tmp_path / "data", target="motherduck", MOTHERDUCK_TOKEN=secret, _env_file=None, **values)


@pytest.fixture
def unreachable(monkeypatch) -> None:
    """A machine that no network leads from: the address answers to nobody."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(motherduck, "HOST", "127.0.0.1")
    monkeypatch.setattr(motherduck, "PORT", port)


@pytest.mark.parametrize(
    "secret", ["hunter2", token()[:-30], token().replace(".", "!"), "a.b.c", token().rsplit(".", 1)[0] + "."]
)
def test_a_malformed_token_is_told_and_not_shown(tmp_path, secret, unreachable):
    with pytest.raises(WarehouseError, match=r"token is malformed .* set MOTHERDUCK_TOKEN") as told:
        warehouse.preflight(settings(tmp_path, secret))
    assert secret not in str(told.value)


def test_an_expired_token_is_told_with_its_day(tmp_path, unreachable):
    secret = token(exp=1_700_000_000)
    with pytest.raises(WarehouseError, match="expired on 2023-11-14") as told:
        warehouse.preflight(settings(tmp_path, secret))
    assert secret not in str(told.value)
    motherduck.check_token(secret, now=1_600_000_000)


@pytest.mark.parametrize("version", ["1.3.2", "1.5.7", "2.0.0", "2.0.0-dev12"])
def test_a_version_of_duckdb_that_motherduck_refuses_is_told_with_those_it_accepts(tmp_path, version, monkeypatch):
    monkeypatch.setattr(duckdb, "__version__", version)
    with pytest.raises(
        WarehouseError, match=rf"DuckDB {version} is installed, and MotherDuck accepts 1\.4\.0 to 1\.5\.6"
    ):
        motherduck.check(settings(tmp_path, token()), tmp_path)


@pytest.mark.parametrize("version", ["1.4.0", "1.4.4", "1.5.5", "1.5.6"])
def test_the_versions_that_motherduck_accepts_pass(version):
    motherduck.check_version(version)


def test_a_database_whose_name_means_another_one_is_refused(tmp_path, unreachable):
    with pytest.raises(WarehouseError, match="DUCKBOOK_MOTHERDUCK_DATABASE=memory is a name that DuckDB itself uses"):
        warehouse.preflight(settings(tmp_path, token(), motherduck_database="memory"))


def test_no_network_is_told_before_duckdb_tries_for_ten_seconds(tmp_path, unreachable):
    secret = token()
    with pytest.raises(
        WarehouseError, match=r"MotherDuck cannot be reached: 127\.0\.0\.1:\d+, which cannot"
    ) as told:
        warehouse.preflight(settings(tmp_path, secret))
    assert "reaches the Internet" in str(told.value)
    assert secret not in str(told.value)


def test_an_extension_that_is_not_installed_is_told(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(motherduck, "HOST", "127.0.0.1")
        monkeypatch.setattr(motherduck, "PORT", server.getsockname()[1])
        with pytest.raises(WarehouseError, match=r"extension motherduck for .* is not installed"):
            motherduck.check(settings(tmp_path, token()), tmp_path / "empty")
        motherduck.check(settings(tmp_path, token()), warehouse.extension_directory(settings(tmp_path, token())))


def test_the_command_line_refuses_a_wrong_token_before_there_is_a_run(tmp_path):
    store = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    run = duckbook(store, "run", "--target", "motherduck", MOTHERDUCK_TOKEN="hunter2-hunter2")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "The MotherDuck token is malformed" in err
    assert "hunter2" not in out + err
    assert not store.runs.exists()


def test_another_day_than_the_publication_is_of_is_refused(tmp_path, monkeypatch):
    """A file stands in for the database that MotherDuck keeps."""
    store, file = settings(tmp_path, token()), str(tmp_path / "kept.duckdb")
    with duckdb.connect(file) as kept:
        kept.execute("create schema ecom_published")
        kept.execute(
            "create table ecom_published.publication as "
            "select 'r' as run_id, '2026-06-30' as as_of, '{}' as marts, true as masked"
        )

    def attach(connection, chosen: Settings) -> str:
        connection.execute(f"attach '{file}' as {chosen.motherduck_database} (read_only)")
        return chosen.motherduck_database

    monkeypatch.setattr(motherduck, "attach_database", attach)
    steps = chain.select(chain.read_chain(), only="explore_sales")
    assert prerequisites.check(store, Request(only="explore_sales"), steps) == date(2026, 6, 30)
    with pytest.raises(ChainError, match="AS_OF=2026-05-31 is wrong: the publication r is as of 2026-06-30"):
        prerequisites.check(store, Request(date(2026, 5, 31), only="explore_sales"), steps)


def test_what_motherduck_answers_is_told_without_the_token():
    secret = token()
    assert motherduck.without_token(duckdb.IOException(f"refused: {secret}\nmore"), secret) == "refused: ***"


@pytest.mark.parametrize("role", ["rows", "sightings", "unreadable"])
def test_files_of_s3_are_read_on_this_side(role):
    """MotherDuck runs a read of s3:// on its own servers, and those reach no endpoint in an office."""
    day = date(2026, 6, 30)
    told = ("a", "orders", "s3", "s3://bucket/key", day, True, 1, None, "hash", day, 1, 1, 0, 0, {}, ("order_id",))
    batch = Batch(*told, files={role: "history/orders/batch=a/rows.parquet"})
    files = batch.files | {"sightings": "history/orders/batch=a/seen.parquet"}
    whole = replace(batch, files=files, with_sightings=True)
    for of in (batch, whole):
        reads = re.findall(
            r"read_parquet\([^)]*\)", raw.selected("bucket", "orders", role, [of], raw.READ_HERE["motherduck"])
        )
        assert len(reads) == (2 if of is whole and role == "rows" else 1)
        assert all(read.endswith(", md_run = local)") for read in reads)
        assert "md_run" not in raw.selected("bucket", "orders", role, [of], raw.READ_HERE["lake"])


def test_nothing_that_dbt_runs_is_of_the_kind_that_motherduck_does_not_do(built_shop):
    """Every statement of every model and test, as dbt sent it to DuckDB."""
    shop, _ = built_shop
    files = sorted((shop.data / "dbt" / "run").rglob("*.sql"))
    assert len(files) > 100
    found = []
    for file in files:
        sql = re.sub(r"--[^\n]*|/\*.*?\*/|'[^']*'", "", file.read_text("utf-8").lower(), flags=re.DOTALL)
        found += [(file.name, what) for what, pattern in UNSUPPORTED.items() if re.search(pattern, sql)]
    assert found == []
