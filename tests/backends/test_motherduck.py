"""MotherDuck without an account: the checks before a run, and the SQL that would be sent."""

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
    "user-defined functions": r"create\s+(or replace\s+)?(temp(orary)?\s+)?(function|macro)\b",
    "databases attached by the server": r"\battach\b",
    "other extensions": r"\b(install|load)\s+\w+",
    "indexes": r"create\s+(unique\s+)?index\b",
    "the clock": r"\b(now\(\)|current_timestamp|current_date|get_current_timestamp)",
    "local files": r"\b(read_csv|read_json|read_text|glob)\w*\(",
    "local settings": r"\b(pragma|set\s+(global|session|threads|memory_limit))\b",
}
"""SQL that MotherDuck does not support, or that has another meaning there, by its documentation."""


def token(**claims) -> str:
    """Return a token that is well-formed but not valid."""

    def part(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'email': 'me@example.com'} | claims)}.c2lnbmF0dXJl"


def settings(tmp_path: Path, secret: str, **values) -> Settings:
    return Settings(data=tmp_path / "data", target="motherduck", MOTHERDUCK_TOKEN=secret, _env_file=None, **values)


@pytest.fixture
def unreachable(monkeypatch) -> None:
    """Point MotherDuck's address to a closed port, as on a machine without network."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(motherduck, "HOST", "127.0.0.1")
    monkeypatch.setattr(motherduck, "PORT", port)


@pytest.mark.parametrize(
    "secret", ["hunter2", token()[:-30], token().replace(".", "!"), "a.b.c", token().rsplit(".", 1)[0] + "."]
)
def test_a_malformed_token_is_an_error_and_not_shown(tmp_path, secret, unreachable):
    with pytest.raises(WarehouseError, match=r"token is malformed .* set MOTHERDUCK_TOKEN") as error:
        warehouse.preflight(settings(tmp_path, secret))
    assert secret not in str(error.value)


def test_the_message_about_an_expired_token_has_its_date(tmp_path, unreachable):
    secret = token(exp=1_700_000_000)
    with pytest.raises(WarehouseError, match="expired on 2023-11-14") as error:
        warehouse.preflight(settings(tmp_path, secret))
    assert secret not in str(error.value)
    motherduck.check_token(secret, now=1_600_000_000)


@pytest.mark.parametrize("version", ["1.3.2", "1.5.7", "2.0.0", "2.0.0-dev12"])
def test_the_message_about_an_unsupported_duckdb_names_the_supported_versions(tmp_path, version, monkeypatch):
    monkeypatch.setattr(duckdb, "__version__", version)
    with pytest.raises(
        WarehouseError, match=rf"DuckDB {version} is installed, and MotherDuck accepts 1\.4\.0 to 1\.5\.6"
    ):
        motherduck.check(settings(tmp_path, token()), tmp_path)


@pytest.mark.parametrize("version", ["1.4.0", "1.4.4", "1.5.5", "1.5.6"])
def test_supported_versions_pass(version):
    motherduck.check_version(version)


def test_a_reserved_database_name_is_an_error(tmp_path, unreachable):
    with pytest.raises(WarehouseError, match="DUCKBOOK_MOTHERDUCK_DATABASE=memory is a name that DuckDB itself uses"):
        warehouse.preflight(settings(tmp_path, token(), motherduck_database="memory"))


def test_no_network_is_an_error_before_duckdb_tries_for_ten_seconds(tmp_path, unreachable):
    secret = token()
    with pytest.raises(WarehouseError, match=r"MotherDuck cannot be reached: 127\.0\.0\.1:\d+, which cannot") as error:
        warehouse.preflight(settings(tmp_path, secret))
    assert "reaches the Internet" in str(error.value)
    assert secret not in str(error.value)


def test_a_missing_extension_is_an_error(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(motherduck, "HOST", "127.0.0.1")
        monkeypatch.setattr(motherduck, "PORT", server.getsockname()[1])
        with pytest.raises(WarehouseError, match=r"extension motherduck for .* is not installed"):
            motherduck.check(settings(tmp_path, token()), tmp_path / "empty")
        motherduck.check(settings(tmp_path, token()), warehouse.extension_directory(settings(tmp_path, token())))


def test_a_wrong_token_is_an_error_before_the_run(tmp_path):
    config = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    run = duckbook(config, "run", "--target", "motherduck", MOTHERDUCK_TOKEN="hunter2-hunter2")
    out, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "The MotherDuck token is malformed" in err
    assert "hunter2" not in out + err
    assert not config.runs.exists()


def test_an_as_of_date_other_than_the_publications_is_an_error(tmp_path, monkeypatch):
    """A file replaces MotherDuck's database."""
    config, file = settings(tmp_path, token()), str(tmp_path / "kept.duckdb")
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
    assert prerequisites.check(config, Request(only="explore_sales"), steps) == date(2026, 6, 30)
    with pytest.raises(ChainError, match="AS_OF=2026-05-31 is wrong: the publication r is as of 2026-06-30"):
        prerequisites.check(config, Request(date(2026, 5, 31), only="explore_sales"), steps)


def test_errors_of_motherduck_are_shown_without_the_token():
    secret = token()
    assert motherduck.without_token(duckdb.IOException(f"refused: {secret}\nmore"), secret) == "refused: ***"


@pytest.mark.parametrize("role", ["rows", "sightings", "unreadable"])
def test_s3_files_are_read_locally(role):
    """MotherDuck would read s3:// on its own servers, which cannot reach an endpoint in an office."""
    day = date(2026, 6, 30)
    fields = ("a", "orders", "s3", "s3://bucket/key", day, True, 1, None, "hash", day, 1, 1, 0, 0, {}, ("order_id",))
    batch = Batch(*fields, files={role: "history/orders/batch=a/rows.parquet"})
    files = batch.files | {"sightings": "history/orders/batch=a/seen.parquet"}
    with_unchanged = replace(batch, files=files, with_sightings=True)
    for case in (batch, with_unchanged):
        reads = re.findall(
            r"read_parquet\([^)]*\)",
            raw.rows_query("bucket", "orders", role, [case], raw.READ_IN_PROCESS["motherduck"]),
        )
        assert len(reads) == (2 if case is with_unchanged and role == "rows" else 1)
        assert all(read.endswith(", md_run = local)") for read in reads)
        assert "md_run" not in raw.rows_query("bucket", "orders", role, [case], raw.READ_IN_PROCESS["lake"])


def test_dbts_sql_uses_nothing_that_motherduck_does_not_support(built_shop):
    """Every statement of every model and test, as dbt sent it to DuckDB."""
    shop, _ = built_shop
    files = sorted((shop.data / "dbt" / "run").rglob("*.sql"))
    assert len(files) > 100
    violations = []
    for file in files:
        sql = re.sub(r"--[^\n]*|/\*.*?\*/|'[^']*'", "", file.read_text("utf-8").lower(), flags=re.DOTALL)
        violations += [(file.name, name) for name, pattern in UNSUPPORTED.items() if re.search(pattern, sql)]
    assert violations == []
