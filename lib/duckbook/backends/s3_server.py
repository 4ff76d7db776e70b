"""The embedded S3 server: SeaweedFS (``weed mini``) from a wheel, on 127.0.0.1.

Everything specific to SeaweedFS is here; the rest of the package only knows S3.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from duckbook import files
from duckbook.backends import processes
from duckbook.backends.processes import LOOPBACK
from duckbook.errors import ServerError
from duckbook.files import write_private
from duckbook.settings import S3Endpoint

AUTHORITY, CERTIFICATE, KEY = "authority.pem", "certificate.pem", "key.pem"

VALID = datetime(2000, 1, 1), datetime(2999, 12, 31)
"""Nothing outside the data folder trusts this authority, and a machine with a wrong clock must reach its own server."""


def ensure_certificates(folder: Path) -> None:
    """Create an authority, a certificate and a key in a folder unless all three are there."""
    if all((folder / name).is_file() for name in (AUTHORITY, CERTIFICATE, KEY)):
        return
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    folder.mkdir(mode=0o700, exist_ok=True)
    signing, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("duckbook authority", "duckbook")
    )

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder(authority_name, subject, public, x509.random_serial_number(), *VALID)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(signing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    texts = {
        AUTHORITY: signed(authority_name, signing.public_key(), x509.BasicConstraints(ca=True, path_length=0)),
        CERTIFICATE: signed(
            name, key.public_key(), x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), usage
        ),
        KEY: private,
    }
    # The key is written last, so that an interrupted start creates all three again.
    for file, content in texts.items():
        write_private(folder / file, content.decode())


REGION = "us-east-1"

PARTS = ("s3", "master", "volume", "filer", "admin")

GRPC_OFFSET = 10_000
"""Distance of each part's gRPC port from its HTTP port. SeaweedFS's worker assumes it."""

SENTINEL_BUCKET = "duckbook-sentinel"
SENTINEL = f"/{SENTINEL_BUCKET}/ready"
"""An object of our own. The server is ready when it can be read: volumes come up later than the list of buckets."""

LAST_DELETED = f"/{SENTINEL_BUCKET}/last-deleted"

START_SECONDS = 60

MEMORY_LIMIT = "768MiB"
"""Limit of Go's heap, which otherwise grows to twice the need. Its buffers reserve 270 MB that are mostly untouched; a
limit near that makes Go collect garbage constantly, which costs an idle server a fifth of a core."""

PORT_TAKEN = re.compile(r"address already in use|port \d+ .* is not available")

GRPC_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "msg_broker", "msg_agent", "mq", "client")
"""Parts that serve or call gRPC. Without certificates any user of the machine could use these ports."""

SECRET_NAMES = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")


class S3Server:
    """The S3 server of a data folder.

    Parameters
    ----------
    folder
        Folder of servers in the data folder; the objects are in ``s3``.
    access_key_id, secret_access_key
        The only credentials that the server accepts.
    signing_keys
        One for each of `SECRET_NAMES`; without them its internal ports accept unsigned requests.
    """

    name = "s3"

    def __init__(self, folder: Path, access_key_id: str, secret_access_key: str, signing_keys: dict[str, str]) -> None:
        self.folder = folder
        self.objects = folder / "s3"
        self.config = folder / "s3.config"
        self.daemon = processes.Daemon(folder / "s3.pid", self.objects, folder / "s3.log")
        self._ports_file = folder / "s3.json"
        self._access_key_id = access_key_id
        self._secret_access_key = secret_access_key
        self._signing_keys = signing_keys

    @property
    def port(self) -> int | None:
        """Port of S3, or None before the first start."""
        port: int | None = files.read_json(self._ports_file).get("s3")
        return port

    @property
    def address(self) -> str | None:
        """``HOST:PORT``."""
        return f"{processes.LOOPBACK}:{self.port}" if self.port else None

    @property
    def endpoint(self) -> S3Endpoint:
        """URL and credentials of the server."""
        return S3Endpoint(f"http://{self.address}", REGION, self._access_key_id, self._secret_access_key)

    def is_running(self) -> bool:
        """Whether the server runs and listens."""
        return self.daemon.find() is not None and self.port is not None and processes.is_listening(self.port)

    def is_ready(self) -> bool:
        """Whether the server runs, and objects can be read and listed."""
        return self.daemon.find() is not None and self._can_read_and_list()

    def ensure_bucket(self, bucket: str) -> None:
        """Create a bucket if it is missing.

        Raises
        ------
        ServerError
            It cannot be created.
        """
        status = self.status_of("HEAD", f"/{bucket}")
        if status == 404:
            status = self.status_of("PUT", f"/{bucket}")
        # 409: another process created it at the same moment.
        if status not in {200, 409}:
            raise ServerError(
                f"The S3 server cannot create the bucket {bucket} (HTTP {status}): see {self.daemon.log}."
            )

    def start(self) -> None:
        """Start the server and wait until an object can be read from it.

        Raises
        ------
        ServerError
            It does not start; the message ends with the last lines of the log.
        """
        deadline = time.monotonic() + START_SECONDS
        if self.daemon.find():  # Its starter was killed before it was ready.
            if self._wait(deadline):
                return
            self.stop()
        weed = find_weed()
        self.objects.mkdir(exist_ok=True)
        self._write_config()
        for _ in range(4):
            ports = files.read_json(self._ports_file)
            if set(ports) != set(PARTS) or not all(_is_usable(port) for port in ports.values()):
                ports = dict(zip(PARTS, processes.free_ports(len(PARTS), _is_usable), strict=True))
                files.write_private(self._ports_file, json.dumps(ports, indent=1) + "\n")
            self._remove_sockets()
            # The server reads security.toml from its working folder.
            self.daemon.start([weed, *self._options(ports)], cwd=self.config, GOMEMLIMIT=MEMORY_LIMIT)
            if self._wait(deadline):
                return
            if not PORT_TAKEN.search(self.daemon.log.read_text("utf-8", errors="replace")):
                break
        log_end = self.daemon.tail([self._secret_access_key, self._access_key_id, *self._signing_keys.values()])
        raise ServerError(f"The S3 server does not start. The end of {self.daemon.log}:\n{log_end}")

    def stop(self) -> bool:
        """Stop the server cleanly; return whether it was running."""
        # Usually takes a second, but sometimes ten for a part without data; a kill loses nothing either.
        stopped = self.daemon.stop(signal.SIGTERM, seconds=3)
        self._remove_sockets()
        return stopped

    def vacuum(self) -> None:
        """Remove the bytes of deleted objects, which SeaweedFS keeps until they are a third of a file.

        Raises
        ------
        ServerError
            The server does not finish in time.
        """
        ports = files.read_json(self._ports_file)
        parts = (
            f"-{part}={processes.LOOPBACK}:{ports[part]}.{ports[part] + GRPC_OFFSET}" for part in ("master", "filer")
        )
        # Deletions are queued: when the last deleted object is gone from the end of its file, all earlier ones are.
        last_content = os.urandom(64)
        statuses = [self.status_of("PUT", LAST_DELETED, last_content), self.status_of("DELETE", LAST_DELETED)]
        if not all(200 <= status < 300 for status in statuses):
            raise ServerError(
                f"The S3 server does not answer (HTTP {statuses}), so nothing was removed: see {self.daemon.log}."
            )
        command = [str(find_weed()), "shell", *parts]
        script = "lock\nvolume.vacuum -garbageThreshold=0.0000001\nunlock\n"
        is_gone = False
        for _ in processes.poll(time.monotonic() + START_SECONDS, pause=0.5):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    command,
                    input=script,
                    timeout=START_SECONDS,
                    check=False,
                    cwd=self.config,
                    env=processes.environment(),
                    capture_output=True,
                    text=True,
                )
            # Run once more after that: another file may have been compacted before its last deletions.
            if is_gone:
                return
            is_gone = not any(last_content in _end_of(path) for path in self.objects.glob(f"{SENTINEL_BUCKET}_*.dat"))
        raise ServerError(f"The S3 server does not remove deleted objects: see {self.daemon.log}, and try again.")

    def _remove_sockets(self) -> None:
        for port in files.read_json(self._ports_file).values():
            # In a copied data folder the ports and sockets may be those of the original, which is running.
            unused = _are_free(port)
            for path in _sockets(port) if unused else []:
                with contextlib.suppress(OSError):  # The socket of another user.
                    path.unlink()

    def status_of(self, method: str, path: str, body: bytes = b"") -> int:
        """Return the HTTP status of a signed request, or 0 if the server does not answer.

        The request is signed by boto3's signer; creating a boto3 client takes longer than the request.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        request = AWSRequest(method, f"http://{self.address}{path}", data=body)
        request.context["payload_signing_enabled"] = True
        S3SigV4Auth(Credentials(self._access_key_id, self._secret_access_key), "s3", REGION).add_auth(request)
        # During a start a request may hang, and the next one succeed.
        connection = HTTPConnection(processes.LOOPBACK, self.port, timeout=1 if method == "GET" else 5)
        try:
            connection.request(method, path, body=body, headers=dict(request.headers.items()))
            return connection.getresponse().status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def _write_config(self) -> None:
        """Write the credentials to files with mode 0600; any user of the machine can list command lines."""
        self.config.mkdir(mode=0o700, exist_ok=True)
        identity = {
            "name": "duckbook",
            "credentials": [{"accessKey": self._access_key_id, "secretKey": self._secret_access_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        files.write_private(self.config / "identities.json", json.dumps({"identities": [identity]}, indent=1))
        ensure_certificates(self.config)
        tables = {name: {"key": key} for name, key in self._signing_keys.items()}
        tables["grpc"] = {"ca": str(self.config / AUTHORITY)}
        own = {"cert": str(self.config / CERTIFICATE), "key": str(self.config / KEY)}
        tables |= {f"grpc.{part}": own for part in GRPC_PARTS}
        # A JSON string is a valid TOML string.
        toml = "".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items()) + "\n"
            for name, table in tables.items()
        )
        files.write_private(self.config / "security.toml", toml)

    def _options(self, ports: dict[str, int]) -> list[str]:
        return [
            "-logtostderr",
            "mini",
            f"-dir={self.objects}",
            f"-ip={processes.LOOPBACK}",
            f"-ip.bind={processes.LOOPBACK}",
            *(f"-{part}.port={port}" for part, port in ports.items()),
            *(f"-{part}.port.grpc={port + GRPC_OFFSET}" for part, port in ports.items()),
            # Without signature, HTTP on the internal ports can delete a bucket (GET /col/delete). S3 does not need it.
            "-disableHttp=true",
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=128",
            "-volume.max=1000",
            "-volume.preStopSeconds=0",
            f"-s3.config={self.config / 'identities.json'}",
            "-s3.allowDeleteBucketNotEmpty=false",
            "-s3.autoCreateBucket=false",
        ]

    def _wait(self, deadline: float) -> bool:
        """Wait until the sentinel can be read; return False if the server ends or the deadline passes."""
        for _ in processes.poll(deadline):
            if self.daemon.find() is None:
                return False
            if self.port and processes.is_listening(self.port) and self._sentinel_is_readable():
                return True
        return False

    def _sentinel_is_readable(self) -> bool:
        status = self.status_of("GET", SENTINEL)
        if status == 404:
            self.status_of("PUT", f"/{SENTINEL_BUCKET}")
            self.status_of("PUT", SENTINEL, b"ready\n")
        return self._can_read_and_list()

    def _can_read_and_list(self) -> bool:
        # For some seconds after a start the server may find an object but fail to list it, or the reverse.
        listing = f"/{SENTINEL_BUCKET}?list-type=2&max-keys=1"
        return all(self.status_of("GET", path) == 200 for path in (SENTINEL, listing))


def find_weed() -> Path:
    """Find the program of SeaweedFS.

    Raises
    ------
    ServerError
        It is not installed: not every machine has a wheel.
    """
    next_to_python = Path(sysconfig.get_path("scripts")) / "weed"
    program = next_to_python if next_to_python.exists() else shutil.which("weed")
    if not program:
        raise ServerError(
            "The S3 server's program `weed` is not on this machine (its wheel exists for Linux and for Macs with "
            "Apple silicon): run `make` again to set up, or name an S3 server of your own in DUCKBOOK_S3_ENDPOINT."
        )
    return Path(program)


def _end_of(path: Path, size: int = 2**20) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - size, 0))
        return file.read()


def _sockets(port: int) -> list[Path]:
    """Return the sockets that SeaweedFS creates in the temporary folder for a port, and leaves there."""
    folder = Path(tempfile.gettempdir())
    return [path for kind in (port, port + GRPC_OFFSET) for path in folder.glob(f"seaweedfs-*-{kind}.sock")]


def _are_free(port: int) -> bool:
    return processes.is_free(port) and processes.is_free(port + GRPC_OFFSET)


def _is_usable(port: int) -> bool:
    """Whether both ports of a part are free, and no leftover socket of another user, which we cannot remove."""
    return _are_free(port) and all(path.lstat().st_uid == os.geteuid() for path in _sockets(port))
