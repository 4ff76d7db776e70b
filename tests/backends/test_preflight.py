"""Your own Postgres and S3: right settings are used, and wrong ones are an error within a second."""

import http.server
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import postgres_servers
import psycopg2.extensions
import pytest
from duckbook.backends import connections, preflight, servers, storage
from duckbook.backends.s3_server import SECRET_NAMES, S3Server
from duckbook.errors import ServerError, SettingError
from duckbook.settings import S3Endpoint, Settings, read_settings

SECRET = "hunter2hunter2hunter2"

pytestmark = pytest.mark.usefixtures("preloaded")


@pytest.fixture(scope="module")
def preloaded() -> None:
    """Import the modules of the checks, so that their time is not measured."""
    storage.client(S3Endpoint("http://127.0.0.1:9", "us-east-1", "warm", "warm"))


@pytest.fixture
def own(external_environment, tmp_path):
    """Return a function for settings with external servers, some changed: ``own(s3_access_key_id="x")``."""

    def settings(**changed) -> Settings:
        values = {name.removeprefix("DUCKBOOK_").lower(): value for name, value in external_environment.items()}
        return Settings(data=tmp_path / "data", _env_file=None, **(values | changed))

    return settings


def refusal(settings: Settings, seconds: float = 20) -> str:
    """Return the error of preflight; it must be a sentence without secrets, and come in time."""
    started = time.perf_counter()
    with pytest.raises(ServerError) as error:
        servers.preflight(settings)
    assert time.perf_counter() - started < seconds
    sentence = str(error.value)
    assert SECRET not in sentence
    assert not any(secret in sentence for secret in settings.secrets())
    assert sentence.endswith(".")
    return sentence


@pytest.fixture
def silent_port():
    """Return a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def web_port():
    """Return the port of a web server that is not S3."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_valid_settings_pass_and_nothing_is_written(own, external_endpoints):
    client = storage.client(external_endpoints.s3)
    before = storage.list_objects(client, "historic-ecom")
    servers.preflight(own())
    servers.preflight(own(s3_historic_bucket="not-there-yet", postgres_schema="not_there_yet"))
    assert storage.list_objects(client, "historic-ecom") == before
    assert "Uploads" not in client.list_multipart_uploads(Bucket="historic-ecom")
    assert "not-there-yet" not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}


def test_up_creates_schema_and_buckets_there_and_starts_no_server_here(own, external_endpoints):
    settings = own(postgres_schema="shop", s3_historic_bucket="shop-historic", s3_latest_bucket="shop-latest")
    assert servers.up(settings) == external_endpoints == servers.up(settings)
    assert not settings.data.exists()
    storage.put_bytes(storage.client(external_endpoints.s3), "shop-latest", "x", b"1")
    with postgres_servers.connect(external_endpoints.postgres_dsn) as connection:
        connection.execute("create table shop.t (a int)")
    assert servers.down(settings) == []


def test_status_shows_external_addresses_without_credentials(own, external_endpoints):
    message = servers.status(own())
    assert [(row["name"], row["state"]) for row in message] == [("postgres", "external"), ("s3", "external")]
    assert message[1]["address"] == external_endpoints.s3.host
    assert f"@{message[0]['address']}/" in external_endpoints.postgres_dsn


def test_one_server_may_be_external_and_the_other_embedded(own, external_endpoints):
    settings = own(s3_endpoint=None, s3_region=None, s3_access_key_id=None, s3_secret_access_key=None)
    try:
        found = servers.up(settings)
        assert found.postgres_dsn == external_endpoints.postgres_dsn
        assert found.s3.url != external_endpoints.s3.url
        assert [row["state"] for row in servers.status(settings)] == ["external", "running"]
    finally:
        assert servers.down(settings) == ["s3"]


def with_dsn(dsn: str, **parts: str | int) -> str:
    return psycopg2.extensions.make_dsn(dsn, **parts)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"port": 9}, r"DUCKBOOK_POSTGRES_DSN names 127\.0\.0\.1:9, which cannot be reached \(Connection refused\)"),
        (
            {"host": "no-such-host.invalid"},
            r"DUCKBOOK_POSTGRES_DSN names the host no-such-host\.invalid, which no name",
        ),
        ({"password": SECRET}, "Postgres refuses DUCKBOOK_POSTGRES_DSN: password authentication failed"),
        ({"user": "nobody_knows"}, "Postgres refuses DUCKBOOK_POSTGRES_DSN: password authentication failed"),
        ({"dbname": "no_such"}, 'Postgres refuses DUCKBOOK_POSTGRES_DSN: database "no_such" does not exist'),
        ({"sslmode": "require"}, "Postgres refuses DUCKBOOK_POSTGRES_DSN: .*SSL.* add or correct sslmode"),
        ({"sslmode": "nonsense"}, "Postgres refuses DUCKBOOK_POSTGRES_DSN: .*sslmode"),
    ],
)
def test_a_wrong_dsn_is_an_error(own, external_endpoints, parts, sentence):
    message = refusal(own(postgres_dsn=with_dsn(external_endpoints.postgres_dsn, **parts)))
    assert re.search(sentence, message), message


def test_a_password_that_ends_with_a_full_stop_is_not_shown():
    message = connections._postgres_error(
        f"FATAL:  no role {SECRET}.\nHINT: none\n", f"postgresql://u:{SECRET}.@h/d", "IT"
    )
    assert message == "Postgres refuses IT: no role ***. To go on, correct it, or check that the server is up."


def test_a_dsn_without_a_password_is_an_error(own, external_endpoints):
    user, _, rest = external_endpoints.postgres_dsn.partition("@")
    message = refusal(own(postgres_dsn=f"{user.rpartition(':')[0]}@{rest}"))
    assert "Postgres refuses DUCKBOOK_POSTGRES_DSN" in message
    assert "set the right user and password" in message


def test_a_schema_without_the_right_to_use_it_is_an_error(own, external_endpoints):
    with postgres_servers.connect(external_endpoints.postgres_dsn, autocommit=True) as connection:
        connection.execute(f"create role clerk login password '{SECRET}'")
        connection.execute("create schema closed")
    dsn = with_dsn(external_endpoints.postgres_dsn, user="clerk", password=SECRET)
    assert "DUCKBOOK_POSTGRES_SCHEMA=closed cannot be used: user clerk may not use it" in refusal(
        own(postgres_dsn=dsn, postgres_schema="closed")
    )
    missing = own(postgres_dsn=dsn, postgres_schema="missing")
    assert "it does not exist and user clerk may not create it" in refusal(missing)
    with pytest.raises(ServerError, match="DUCKBOOK_POSTGRES_SCHEMA=missing does not exist and user clerk may not"):
        servers.up(missing)
    with postgres_servers.connect(external_endpoints.postgres_dsn, autocommit=True) as connection:
        connection.execute("grant usage on schema closed to clerk")
    servers.preflight(own(postgres_dsn=dsn, postgres_schema="closed"))
    servers.up(own(postgres_dsn=dsn, postgres_schema="closed"))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"s3_endpoint": "http://127.0.0.1:9"}, "DUCKBOOK_S3_ENDPOINT names 127.0.0.1:9, which cannot be reached"),
        ({"s3_endpoint": "http://no-such-host.invalid"}, "DUCKBOOK_S3_ENDPOINT names the host no-such-host.invalid"),
        ({"s3_endpoint": None, "s3_region": "atlantis-1"}, "DUCKBOOK_S3_REGION names the host s3.atlantis-1.amazonaws"),
        ({"s3_access_key_id": "nobody"}, "DUCKBOOK_S3_ACCESS_KEY_ID is not known to it"),
        ({"s3_secret_access_key": SECRET}, "DUCKBOOK_S3_SECRET_ACCESS_KEY does not belong to the key id"),
    ],
)
def test_a_wrong_s3_setting_is_an_error(own, changed, sentence):
    assert sentence in refusal(own(**changed))


def test_an_address_that_never_answers_is_an_error_within_a_second(own):
    # The range reserved for documentation: nothing answers there, not even with a refusal.
    message = refusal(own(postgres_dsn="postgresql://me:hunter2hunter2hunter2@192.0.2.1/shop"))
    assert "DUCKBOOK_POSTGRES_DSN names 192.0.2.1:5432, which " in message
    assert "DUCKBOOK_S3_ENDPOINT names 192.0.2.1:9000, which " in refusal(own(s3_endpoint="http://192.0.2.1:9000"))


def test_a_web_server_that_is_not_s3_is_an_error(own, web_port):
    message = refusal(own(s3_endpoint=f"http://127.0.0.1:{web_port}"))
    assert "check that DUCKBOOK_S3_ENDPOINT is an S3 server" in message


def test_swapped_addresses_are_an_error(own, external_endpoints):
    dsn = with_dsn(external_endpoints.postgres_dsn, port=external_endpoints.s3.url.rpartition(":")[2])
    assert "Postgres refuses DUCKBOOK_POSTGRES_DSN" in refusal(own(postgres_dsn=dsn), seconds=20)
    url = "http://{}:{}".format(*connections.postgres_address(external_endpoints.postgres_dsn))
    assert "No S3 server answers at DUCKBOOK_S3_ENDPOINT=" in refusal(own(s3_endpoint=url))


def test_a_server_that_never_answers_is_an_error_within_seconds(own, external_endpoints, silent_port):
    silent_postgres = own(postgres_dsn=with_dsn(external_endpoints.postgres_dsn, port=silent_port))
    silent_s3 = own(s3_endpoint=f"http://127.0.0.1:{silent_port}")
    with ThreadPoolExecutor() as pool:
        message = list(pool.map(lambda settings: refusal(settings, seconds=20), (silent_postgres, silent_s3)))
    assert "Postgres refuses DUCKBOOK_POSTGRES_DSN" in message[0]
    assert "No S3 server answers at DUCKBOOK_S3_ENDPOINT=" in message[1]


def test_credentials_default_to_boto3s_credential_chain(own, external_endpoints, monkeypatch):
    without = own(s3_access_key_id=None, s3_secret_access_key=None)
    message = refusal(without)
    assert "There are no S3 credentials: set DUCKBOOK_S3_ACCESS_KEY_ID and DUCKBOOK_S3_SECRET_ACCESS_KEY" in message
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", external_endpoints.s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", external_endpoints.s3.secret_access_key)
    servers.preflight(without)
    assert servers.up(without) == external_endpoints
    assert asdict(servers.up(own(s3_region=None, s3_access_key_id=None, s3_secret_access_key=None)).s3) == asdict(
        replace(external_endpoints.s3, region="us-east-1")
    )


class ServerWithGuests(S3Server):
    """An S3 server with keys of different rights, as companies have."""

    guests: ClassVar = {
        "reader": ["Read", "List"],
        "clerk": ["Admin:shop-latest", "Read:shop-latest", "List:shop-latest"],
    }

    def _write_config(self) -> None:
        super()._write_config()
        path = self.config / "identities.json"
        config = json.loads(path.read_text())
        config["identities"] += [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": SECRET}], "actions": actions}
            for name, actions in self.guests.items()
        ]
        path.write_text(json.dumps(config))


@pytest.fixture(scope="module")
def shared_s3(tmp_path_factory):
    """Return the URL of a server with the buckets `shop-historic` and `shop-latest`."""
    folder = Path(tmp_path_factory.mktemp("shared"))
    server = ServerWithGuests(folder, "owner", SECRET, {name: f"{name}-{SECRET}" for name in SECRET_NAMES})
    server.start()
    for bucket in ("shop-historic", "shop-latest"):
        server.ensure_bucket(bucket)
    yield server.endpoint.url
    server.stop()


def test_a_bucket_that_the_key_may_not_use_is_an_error(own, shared_s3):
    shop = {
        "s3_endpoint": shared_s3,
        "s3_secret_access_key": SECRET,
        "s3_historic_bucket": "shop-historic",
        "s3_latest_bucket": "shop-latest",
    }
    servers.preflight(own(s3_access_key_id="owner", **shop))
    for key in ("reader", "clerk"):
        message = refusal(own(s3_access_key_id=key, **shop))
        assert message.startswith("S3 refuses DUCKBOOK_S3_HISTORIC_BUCKET=shop-historic (AccessDenied): "), message
        assert "grant that, or name another bucket" in message
    with pytest.raises(ServerError, match="DUCKBOOK_S3_HISTORIC_BUCKET=not-there"):
        servers.up(own(s3_access_key_id="reader", **(shop | {"s3_historic_bucket": "not-there"})))


def check_as_nobody(pipe, data: Path, runs: Path) -> None:
    """Run the check as an unprivileged user and send its error to a pipe."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    os.environ |= {"DUCKBOOK_DATA": str(data), "DUCKBOOK_RUNS": str(runs)}
    try:
        preflight.check(read_settings(None))
    except SettingError as error:
        pipe.send(str(error))


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_done(tmp_path):
    closed = Path(tempfile.mkdtemp(prefix="closed "))
    closed.chmod(0o555)
    private = Path(tempfile.mkdtemp(prefix="private ")) / "below" / "it"
    for data, runs, setting in (
        (closed / "data", Path("/tmp"), "DATA"),
        (Path("/tmp"), closed, "RUNS"),
        *([(private, Path("/tmp"), "DATA")] if os.geteuid() == 0 else []),
    ):
        receiver, pipe = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=check_as_nobody, args=(pipe, data, runs))
        process.start()
        process.join(30)
        assert receiver.poll(0)
        assert receiver.recv().startswith(f"DUCKBOOK_{setting}={data if setting == 'DATA' else runs}")
    closed.rmdir()
    private.parents[1].rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write files that the owner of a folder cannot change")
@pytest.mark.parametrize("name", ["data", "runs"])
def test_root_writes_nothing_in_another_users_folder(tmp_path, name):
    chosen = Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None)
    for folder in (chosen.data, chosen.runs):
        folder.mkdir()
    os.chown(tmp_path / name, 65534, 65534)
    words = [
        sys.executable,
        "-m",
        "duckbook.cli.commands",
        "latest",
        "--data",
        str(chosen.data),
        "--runs",
        str(chosen.runs),
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"DUCKBOOK_{name.upper()}={tmp_path / name} belongs to another user (id 65534)" in done.stderr
    assert [*chosen.data.iterdir(), *chosen.runs.iterdir()] == []
