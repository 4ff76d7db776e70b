"""The embedded servers: start, stop, kills, races, and access by strangers."""

import contextlib
import http.client
import itertools
import json
import os
import random
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import postgres_servers
import psutil
import psycopg2
import pytest
from duckbook.backends import postgres_server, processes, s3_server, servers, storage
from duckbook.errors import ServerError
from duckbook.settings import Settings

SCRIPT = """
import json, sys
from pathlib import Path
from duckbook.backends import servers
from duckbook.settings import Settings
found = servers.up(Settings(data=Path(sys.argv[1]), _env_file=None))
print(json.dumps([found.postgres_dsn, found.s3.url]))
"""


def up_in_another_process(settings: Settings) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(settings.data)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes_of(settings: Settings) -> list[psutil.Process]:
    """Return every process with the folder of servers on its command line; starters have not."""
    folder = f"{settings.data}/servers/"
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(folder in word for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def kill(settings: Settings) -> None:
    """Kill both servers, like a power cut."""
    for process in processes_of(settings):
        process.kill()


def rows(dsn: str, sql: str) -> list:
    with postgres_servers.connect(dsn) as connection:
        return connection.execute(sql).fetchall()


def status_of(url: str) -> int:
    """Return the HTTP status of an unsigned request, or 0 if the server does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture(scope="module")
def victim(start_shop) -> Settings:
    """A data folder whose servers may be stopped and killed; after each test `up` starts them again."""
    return start_shop("victim")


@pytest.fixture
def fresh(tmp_path) -> Settings:
    """A data folder without servers, with a path longer than sockets allow."""
    settings = Settings(data=tmp_path / ("a long name " * 15).strip() / "data", _env_file=None)
    yield settings
    kill(settings)
    servers.down(settings)


def test_up_finds_running_servers(shop_settings, endpoints):
    before = {process.pid for process in processes_of(shop_settings)}
    assert servers.up(shop_settings) == endpoints
    assert {process.pid for process in processes_of(shop_settings)} == before


def test_another_process_finds_running_servers(shop_settings, endpoints):
    before = {process.pid for process in processes_of(shop_settings)}
    found, _ = up_in_another_process(shop_settings).communicate(timeout=60)
    assert json.loads(found) == [endpoints.postgres_dsn, endpoints.s3.url]
    assert {process.pid for process in processes_of(shop_settings)} == before


def test_they_listen_on_this_machine_alone(shop_settings, endpoints):
    listening = {
        (listener.laddr.ip, listener.laddr.port)
        for process in processes_of(shop_settings)
        for listener in process.net_connections("tcp")
        if listener.status == psutil.CONN_LISTEN
    }
    assert {ip for ip, _ in listening} == {"127.0.0.1"}
    assert int(endpoints.s3.url.rpartition(":")[2]) in {port for _, port in listening}


def test_up_creates_the_schema_and_the_buckets(shop_settings, endpoints):
    assert rows(endpoints.postgres_dsn, "select 1 from pg_namespace where nspname = 'ecom'") == [(1,)]
    names = {bucket["Name"] for bucket in storage.client(endpoints.s3).list_buckets()["Buckets"]}
    assert names >= {shop_settings.s3_historic_bucket, shop_settings.s3_latest_bucket}


def test_a_dropped_schema_and_bucket_are_created_again(victim):
    found = servers.up(victim)
    with postgres_servers.connect(found.postgres_dsn) as connection:
        connection.execute("drop schema ecom")
    storage.client(found.s3).delete_bucket(Bucket=victim.s3_latest_bucket)
    servers.up(victim)
    assert rows(found.postgres_dsn, "select 1 from pg_namespace where nspname = 'ecom'") == [(1,)]
    storage.put_bytes(storage.client(found.s3), victim.s3_latest_bucket, "x", b"1")


def test_libpqs_variables_do_not_reach_the_embedded_postgres(victim):
    strange = {
        "PGSSLMODE": "verify-full", "PGSERVICE": "nobody-knows", "PGOPTIONS": "-c search_path=nowhere", "PGHOST": "db",
        "PGUSER": "somebody", "PGCLIENTENCODING": "LATIN1", "PGTARGETSESSIONATTRS": "read-only",
    }  # fmt: skip
    script = SCRIPT + (
        "import psycopg2\nfrom duckbook.backends import warehouse\n"
        "with warehouse.engine(Settings(data=Path(sys.argv[1]), _env_file=None)) as connection:\n"
        "    warehouse.use_landing(connection, found)\n"
        "    connection.execute(\"from postgres_query('landing_postgres', 'select 1')\").fetchall()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(victim.data)], env=os.environ | strange, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == servers.up(victim).postgres_dsn


def test_data_folders_have_servers_of_their_own(shop_settings, victim):
    ours, theirs = servers.up(shop_settings), servers.up(victim)
    assert (ours.postgres_dsn, ours.s3.url) != (theirs.postgres_dsn, theirs.s3.url)
    storage.put_bytes(storage.client(ours.s3), shop_settings.s3_historic_bucket, "mine/x", b"1")
    assert storage.get_bytes(storage.client(theirs.s3), victim.s3_historic_bucket, "mine/x") is None
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(theirs.postgres_dsn, password=ours.postgres_dsn.split(":")[2].split("@")[0])


def test_concurrent_calls_of_up_start_one_pair_that_outlives_them(fresh):
    starters = [up_in_another_process(fresh) for _ in range(3)]
    # This would not return while a server held a starter's pipe.
    outputs = [starter.communicate(timeout=60) for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 1
    found = processes_of(fresh)
    assert len(found) == 2
    for server in found:
        assert server.ppid() not in {starter.pid for starter in starters}
        assert os.getsid(server.pid) != os.getsid(0)


def test_servers_start_after_a_starter_was_killed_at_any_moment(fresh, soak):
    draw = random.Random(7)
    for _ in range(40 if soak else 3):
        starter = up_in_another_process(fresh)
        time.sleep(draw.uniform(0.2, 1.4))
        starter.kill()
        starter.communicate()
    found = servers.up(fresh)
    assert rows(found.postgres_dsn, "select 1") == [(1,)]
    assert len(processes_of(fresh)) == 2
    assert list((fresh.data / "servers").glob("postgres.new-*")) == []


def test_acknowledged_writes_survive_a_kill(victim, soak):
    for _ in range(10 if soak else 1):
        found = servers.up(victim)
        s3 = storage.client(found.s3, attempts=1)
        acknowledged: dict[str, list[int]] = {"rows": [], "objects": []}
        with postgres_servers.connect(found.postgres_dsn, autocommit=True) as connection:
            connection.execute("drop table if exists ecom.kept; create table ecom.kept (n int)")

        def write_rows(found=found, acknowledged=acknowledged) -> None:
            with postgres_servers.connect(found.postgres_dsn, autocommit=True) as connection:
                for n in range(100_000):
                    connection.execute("insert into ecom.kept values (%s)", [n])
                    acknowledged["rows"].append(n)

        def write_objects(s3=s3, acknowledged=acknowledged) -> None:
            for n in range(100_000):
                storage.put_bytes(s3, victim.s3_historic_bucket, f"kept/{n}", f"{n}".encode() * 1_000)
                acknowledged["objects"].append(n)

        writers = [threading.Thread(target=swallow, args=[write]) for write in (write_rows, write_objects)]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 60
        while min(len(done) for done in acknowledged.values()) < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
        kill(victim)
        for writer in writers:
            writer.join(30)
        assert min(len(done) for done in acknowledged.values()) >= 30

        again = servers.up(victim)
        assert again == found, "the ports were free, so they are kept"
        kept = {n for (n,) in rows(again.postgres_dsn, "select n from ecom.kept")}
        assert set(acknowledged["rows"]) <= kept
        for n in acknowledged["objects"]:
            assert storage.get_bytes(s3, victim.s3_historic_bucket, f"kept/{n}") == f"{n}".encode() * 1_000
        storage.delete_prefix(s3, victim.s3_historic_bucket, "kept/")


def swallow(write) -> None:
    """Write until the server dies."""
    with contextlib.suppress(ServerError, psycopg2.OperationalError):
        write()


def test_ports_in_use_are_replaced_and_nothing_is_lost(victim):
    before = servers.up(victim)
    storage.put_bytes(storage.client(before.s3), victim.s3_historic_bucket, "moved/x", b"1")
    assert servers.down(victim) == ["postgres", "s3"]
    taken = [int(before.postgres_dsn.rpartition(":")[2].split("/")[0]), int(before.s3.url.rpartition(":")[2])]
    listeners = [socket.create_server(("127.0.0.1", port)) for port in taken]
    try:
        assert {row["state"] for row in servers.status(victim)} == {"stopped"}
        after = servers.up(victim)
    finally:
        for listener in listeners:
            listener.close()
    assert after.postgres_dsn != before.postgres_dsn
    assert after.s3.url != before.s3.url
    assert storage.get_bytes(storage.client(after.s3), victim.s3_historic_bucket, "moved/x") == b"1"
    assert rows(after.postgres_dsn, "select 1 from pg_namespace where nspname = 'ecom'") == [(1,)]


def test_only_the_server_that_died_is_started_again(victim):
    servers.up(victim)
    postgres, weed = sorted(processes_of(victim), key=lambda process: "weed" in process.cmdline()[0])
    weed.kill()
    servers.up(victim)
    again = {process.pid for process in processes_of(victim)}
    assert postgres.pid in again
    assert weed.pid not in again
    assert len(again) == 2


def test_down_returns_the_stopped_servers_and_status_the_running_ones(victim):
    found = servers.up(victim)
    states = {row["name"]: (row["state"], row["address"]) for row in servers.status(victim)}
    assert states["s3"] == ("running", found.s3.host)
    assert states["postgres"][0] == "running"
    assert f"@{states['postgres'][1]}/" in found.postgres_dsn
    assert servers.down(victim) == ["postgres", "s3"]
    assert processes_of(victim) == []
    assert servers.down(victim) == []
    assert [(row["state"], row["address"]) for row in servers.status(victim)] == [("stopped", "")] * 2


def test_status_and_down_create_no_data_folder(tmp_path):
    settings = Settings(data=tmp_path / "none", _env_file=None)
    assert {row["state"] for row in servers.status(settings)} == {"stopped"}
    assert servers.down(settings) == []
    assert not settings.data.exists()


def test_status_imports_nothing_heavy(shop_settings, endpoints):
    script = (
        SCRIPT.replace("found = servers.up", "found = servers.status").rpartition("print")[0] + "print(*sys.modules)"
    )
    command = [sys.executable, "-c", script, str(shop_settings.data)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"boto3", "botocore", "psycopg2", "duckdb", "pandas", "dbt", "IPython"} & set(loaded) == set()


def test_no_password_is_in_a_process_list_or_a_servers_environment(shop_settings, endpoints):
    secret_file = shop_settings.data / "servers" / "secrets.json"
    secrets = list(json.loads(secret_file.read_text()).values())
    found = processes_of(shop_settings)
    assert len(found) == 2
    for process in found:
        shown = " ".join([*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())])
        assert not any(secret in shown for secret in secrets)
        assert not any(name.startswith(("DUCKBOOK_", "AWS_", "PYTEST")) for name in process.environ())


def test_only_the_owner_can_read_passwords(shop_settings, endpoints):
    folder = shop_settings.data / "servers"
    secrets = list(json.loads((folder / "secrets.json").read_text()).values())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.glob("*"):
        if path.is_file() and any(secret in path.read_text() for secret in secrets):
            assert (path.name, stat.S_IMODE(path.stat().st_mode)) == ("secrets.json", 0o600)
    for path in (folder / "s3.config").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_both_servers_reject_wrong_credentials(shop_settings, endpoints):
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(endpoints.postgres_dsn, password="hunter2")
    stranger = storage.client(replace(endpoints.s3, secret_access_key="hunter2hunter2hunter2"))
    with pytest.raises(ServerError, match="SignatureDoesNotMatch"):
        storage.put_bytes(stranger, shop_settings.s3_historic_bucket, "stolen", b"x")
    assert status_of(f"{endpoints.s3.url}/{shop_settings.s3_historic_bucket}?list-type=2") == 403


def ports_of(settings: Settings) -> list[int]:
    """Return every port on which the servers listen."""
    return sorted(
        listener.laddr.port
        for process in processes_of(settings)
        for listener in process.net_connections("tcp")
        if listener.status == psutil.CONN_LISTEN
    )


def weed_shell(command: str, shop: Settings, cwd: Path, user: dict) -> str:
    """Return the output of SeaweedFS's shell for a user who knows the ports."""
    ports = json.loads((shop.data / "servers" / "s3.json").read_text())
    parts = (f"-{part}=127.0.0.1:{ports[part]}.{ports[part] + s3_server.GRPC_OFFSET}" for part in ("master", "filer"))
    weed = shutil.copy(s3_server.find_weed(), cwd.parent / "weed")
    shell = subprocess.Popen(
        [weed, "shell", *parts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        text=True,
        **user,
    )
    try:
        return shell.communicate(f"{command}\n", timeout=6)[0]
    except subprocess.TimeoutExpired:
        shell.kill()
        return shell.communicate()[0]


def test_no_port_shows_a_stranger_stored_data(shop_settings, endpoints, tmp_path_factory):
    """SeaweedFS's own tools use gRPC, which ignores S3's credentials."""
    bucket = shop_settings.s3_historic_bucket
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "elsewhere"
        folder.mkdir()
        for path in (folder, folder.parent):
            path.chmod(0o777)
        stranger = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        for command in ("fs.ls /buckets", "collection.list", "volume.list"):
            output = weed_shell(command, shop_settings, folder, stranger)
            assert bucket not in output and "DataNode" not in output
    # With the owner's certificate the same tools work.
    config = shop_settings.data / "servers" / "s3.config"
    assert bucket in weed_shell("fs.ls /buckets", shop_settings, config, {})


def test_no_port_obeys_a_stranger_who_speaks_http_or_postgres(shop_settings, endpoints):
    """Some ports report their health and disk; none shows or changes stored data."""
    client, bucket = storage.client(endpoints.s3), shop_settings.s3_historic_bucket
    storage.put_bytes(client, bucket, "guarded/secret-name", b"precious")
    paths = ["/", "/buckets/", f"/{bucket}", f"/{bucket}/guarded/secret-name", f"/{bucket}?list-type=2&prefix=guarded"]
    paths += [f"/buckets/{bucket}/guarded/secret-name", f"/col/delete?collection={bucket}", "/vol/vacuum", "/submit"]
    paths += [
        "/dir/assign",
        "/cluster/status",
        "/status",
        "/metrics",
        "/ui/index.html",
        "/debug/pprof/heap",
        "/api/config",
    ]
    leaks, tried = [], 0
    for port in ports_of(shop_settings):
        for method, path in itertools.product(("GET", "PUT", "POST", "DELETE"), paths):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request(method, path, body=b"x")
                answer = connection.getresponse()
                tried += 1
                if answer.status < 300 and ((method == "DELETE" and bucket in path) or b"guarded" in answer.read()):
                    leaks.append((port, method, path))
            connection.close()
    assert leaks == []
    assert tried > 5 * len(paths)
    assert storage.get_bytes(client, bucket, "guarded/secret-name") == b"precious"
    storage.delete(client, bucket, "guarded/secret-name")
    for user in ("duckbook", "postgres", "ecom_reader"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(host="127.0.0.1", port=endpoints.postgres_dsn.rpartition(":")[2].split("/")[0], user=user)


def test_other_users_cannot_write_to_the_sockets_of_the_s3_server(shop_settings, endpoints):
    ports = json.loads((shop_settings.data / "servers" / "s3.json").read_text()).values()
    sockets = [path for port in ports for path in s3_server._sockets(port)]
    assert sockets
    assert [path for path in sockets if path.stat().st_mode & 0o022] == []


def test_every_grpc_port_requires_our_certificate(shop_settings, endpoints):
    """A plain-text HTTP/2 preface and a handshake without a certificate: neither gets an HTTP/2 frame."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.check_hostname, own.verify_mode = False, ssl.CERT_NONE
    own.set_alpn_protocols(["h2"])
    ports = [port for port in ports_of(shop_settings) if port >= processes.PORTS.start + s3_server.GRPC_OFFSET]
    assert len(ports) == len(s3_server.PARTS)
    for port in ports:
        for wrap in (lambda plain: plain, own.wrap_socket):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain, contextlib.suppress(OSError):
                tunnel = wrap(plain)
                tunnel.sendall(preface)
                answer = tunnel.recv(9)
                # An HTTP/2 server starts with a SETTINGS frame, of type 4.
                assert answer[3:4] != b"\x04", port


def test_internal_ports_of_the_s3_server_reject_unsigned_requests(shop_settings, endpoints):
    bucket = shop_settings.s3_historic_bucket
    storage.put_bytes(storage.client(endpoints.s3), bucket, "guarded/x", b"precious")
    ports = json.loads((shop_settings.data / "servers" / "s3.json").read_text())
    inner = {
        "filer": ["/", f"/buckets/{bucket}/guarded/x", f"/buckets/{bucket}/?recursive=true"],
        # On an open port this would delete the bucket's objects.
        "master": [f"/col/delete?collection={bucket}", "/dir/assign", "/dir/status", "/vol/grow?count=1"],
        "volume": ["/ui/index.html", "/1,01637037d6"],
    }
    answers = {
        f"{part}{path}": status_of(f"http://127.0.0.1:{ports[part]}{path}") for part in inner for path in inner[part]
    }
    assert {path: answer for path, answer in answers.items() if answer not in {401, 403, 404}} == {}
    assert storage.get_bytes(storage.client(endpoints.s3), bucket, "guarded/x") == b"precious"


def test_vacuum_removes_deleted_bytes_from_the_disk_and_keeps_the_rest(victim):
    found = servers.up(victim)
    client, bucket = storage.client(found.s3), victim.s3_historic_bucket
    deleted, kept = ([os.urandom(size) for size in (300, 70_000, 3_000_000)] for _ in range(2))
    for number, (one, other) in enumerate(zip(deleted, kept, strict=True)):
        storage.put_bytes(client, bucket, f"gone/{number}", one)
        storage.put_bytes(client, bucket, f"kept/{number}", other)
    storage.delete_prefix(client, bucket, "gone/")
    assert servers.vacuum(victim) == []
    files = [path.read_bytes() for path in (victim.data / "servers").rglob("*") if path.is_file()]
    assert [any(body[40:200] in file for file in files) for body in (*deleted, *kept)] == [False] * 3 + [True] * 3
    assert [storage.get_bytes(client, bucket, f"kept/{number}") for number in range(3)] == kept


@pytest.mark.parametrize(
    ("name", "needed", "log"),
    [("Postgres", "postgres/postgresql.conf", "postgres.log"), ("The S3 server", "s3/filerldb2", "s3.log")],
)
def test_the_error_of_a_failed_start_has_the_end_of_the_log(victim, name, needed, log):
    servers.up(victim)
    folder = victim.data / "servers"
    kill(victim)
    kept = (folder / needed).rename(folder / "kept")
    (folder / needed).write_text("nonsense = on")
    try:
        with pytest.raises(ServerError) as error:
            servers.up(victim)
    finally:
        (folder / needed).unlink()
        kept.rename(folder / needed)
    sentence = str(error.value)
    assert sentence.startswith(f"{name} does not start. The end of {folder / log}:\n    ")
    assert {"Postgres": "nonsense", "The S3 server": "filerldb2"}[name] in sentence
    assert not any(secret in sentence for secret in json.loads((folder / "secrets.json").read_text()).values())


def test_missing_damaged_and_wrong_passwords_are_errors(victim):
    servers.down(victim)
    path = victim.data / "servers" / "secrets.json"
    text = path.read_text()
    try:
        path.unlink()
        with pytest.raises(ServerError, match=r"secrets\.json is gone"):
            servers.up(victim)
        path.write_text("{")
        with pytest.raises(ServerError, match=r"secrets\.json is damaged"):
            servers.up(victim)
        path.write_text(json.dumps(json.loads(text) | {"postgres_password": "hunter2"}))
        with pytest.raises(
            ServerError, match=r"The password in secrets\.json is not that of this data folder's Postgres"
        ):
            servers.up(victim)
    finally:
        path.write_text(text)
    assert rows(servers.up(victim).postgres_dsn, "select 1") == [(1,)]


def test_a_copied_data_folder_leaves_the_running_original_alone(fresh, victim):
    """This resembles a reboot, after which a saved process id or port may belong to another process."""
    original = servers.up(victim)
    shutil.copytree(victim.data / "servers", fresh.data / "servers", ignore=shutil.ignore_patterns("postgres", "s3"))
    assert {row["state"] for row in servers.status(fresh)} == {"stopped"}
    assert servers.down(fresh) == []
    copied = servers.up(fresh)
    assert {copied.s3.url, copied.postgres_dsn}.isdisjoint({original.s3.url, original.postgres_dsn})
    assert servers.down(fresh) == ["postgres", "s3"]
    assert servers.up(victim) == original
    storage.put_bytes(storage.client(original.s3), "historic-ecom", "after/the/copy", b"1" * 100_000)
    assert storage.get_bytes(storage.client(original.s3), "historic-ecom", "after/the/copy") == b"1" * 100_000
    storage.ensure_bucket(storage.client(original.s3), "made-after-the-copy")


def test_without_a_wheel_the_systems_programs_are_used(tmp_path, monkeypatch):
    wheel = postgres_server.find_programs()
    (tmp_path / "18").mkdir()
    (tmp_path / "18" / "bin").symlink_to(wheel)
    monkeypatch.setattr(postgres_server, "SYSTEM", tmp_path)
    monkeypatch.setattr(postgres_server, "WHEELS", ())
    assert postgres_server.find_programs() == tmp_path / "18" / "bin"
    assert postgres_server.find_programs("18") == tmp_path / "18" / "bin"
    with pytest.raises(
        ServerError,
        match="programs of Postgres 15, which created the data in this data folder, are not on this machine",
    ):
        postgres_server.find_programs("15")


def test_the_error_of_a_missing_weed_names_the_setting(monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerError, match="DUCKBOOK_S3_ENDPOINT"):
        s3_server.find_weed()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root must become another user for Postgres")


@pytest.fixture
def without_namespaces(tmp_path, monkeypatch) -> None:
    """Hide `unshare`, which many containers do not allow."""
    for name in ("true", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))


@needs_root
def test_without_namespaces_root_starts_postgres_as_nobody(without_namespaces):
    folder = Path(tempfile.mkdtemp(prefix="duckbook-open-"))
    folder.chmod(0o755)
    settings = Settings(data=folder / "data", s3_endpoint="http://127.0.0.1:9", _env_file=None)
    try:
        server = servers._start(settings)[0]
        assert rows(server.dsn, "select 1") == [(1,)]
        assert {process.username() for process in processes_of(settings)} == {"nobody"}
        # Data that belong to nobody stay so, even if namespaces are available later.
        kill(settings)
        assert servers._start(settings)[0].dsn == server.dsn
    except ServerError as error:
        if "may not enter" in str(error) and ".venv" in str(error):
            pytest.skip("this checkout is in a folder that nobody may enter")
        raise
    finally:
        servers.down(settings)
        shutil.rmtree(folder)


@needs_root
def test_without_namespaces_a_closed_folder_is_an_error_with_a_remedy(without_namespaces, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    settings = Settings(data=closed / "data", s3_endpoint="http://127.0.0.1:9", _env_file=None)
    with pytest.raises(
        ServerError, match=r"Postgres refuses to run as root.*run as an ordinary user, or set DUCKBOOK_DATA"
    ):
        servers._start(settings)


@needs_root
def test_root_does_not_touch_another_users_data_folder(tmp_path):
    settings = Settings(data=tmp_path / "data", _env_file=None)
    (settings.data / "servers").mkdir(parents=True)
    os.chown(settings.data / "servers", 65534, 65534)
    with pytest.raises(ServerError, match=r"belongs to another user \(id 65534\): work as that user"):
        servers.up(settings)


def test_a_data_folder_that_cannot_be_created_is_an_error(tmp_path):
    settings = Settings(data=Path("/proc/no/such"), _env_file=None)
    with pytest.raises(ServerError, match=r"DUCKBOOK_DATA=/proc/no/such cannot be created or written"):
        servers.up(settings)


def test_a_server_that_hangs_is_killed(victim):
    servers.up(victim)
    postgres = servers._embedded(victim)[0]
    process = postgres.daemon.find()
    process.suspend()
    try:
        assert postgres.daemon.stop(signal.SIGTERM, seconds=0.3) is True
    finally:
        assert postgres.daemon.find() is None
    assert rows(servers.up(victim).postgres_dsn, "select 1") == [(1,)]
