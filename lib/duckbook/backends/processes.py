"""Server processes that outlive their starter: private files, free ports, start, find again, stop, and their logs.

What Postgres and the object store have in common. A process is told by its id *and* by its command line, which
names the store's folder, so that a reused process id is never taken for a server, nor another store's server for ours.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from duckbook.errors import ServerError
from duckbook.redaction import Redactor

LOOPBACK = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections, so that a kept port stays free; the
# object store takes another port 10,000 above each of its own.
PORTS = range(15_000, 22_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # Servers set this too; without it a port whose last connections linger would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int, is_usable: Callable[[int], bool] = is_free) -> list[int]:
    """Free ports of 127.0.0.1, drawn at random so that two stores that start at once rarely draw the same."""
    drawn = random.SystemRandom().sample(PORTS, k=len(PORTS))
    found = list(itertools.islice(filter(is_usable, drawn), count))
    if len(found) < count:
        raise ServerError(
            f"Fewer than {count} ports from {PORTS.start} to {PORTS.stop} are free: stop what listens there."
        )
    return found


def answers(port: int, seconds: float = 1.0) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=seconds).close()
    except OSError:
        return False
    return True


def environment(**more: str) -> dict[str, str]:
    """What a server needs of the environment and nothing else.

    A server lives long: it must not hold the tokens of the shell that started it, and variables such as PGDATA or
    WEED_* would override its own configuration.
    """
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"} | more


@dataclass(frozen=True)
class Daemon:
    """A server process of a store, told from others by its id and its command line.

    Parameters
    ----------
    pid_file
        Where the process notes its id *before* it becomes the server: a starter that is killed at any moment
        leaves no server that cannot be found again.
    marker
        The server's data folder, which its command line names.
    log
        What it prints; the log of the start before is kept beside it as ``.1``.
    """

    pid_file: Path
    marker: Path
    log: Path

    def start(self, command: Sequence[str | Path], cwd: Path, owner: int | None = None, **env: str) -> None:
        """Start the server in a session of its own, with no pipe of the starter's, as nobody's child.

        Parameters
        ----------
        owner
            User id to run as, where the starter is root and the server refuses to be.

        Raises
        ------
        ServerError
            The process does not come to life.
        """
        self.pid_file.unlink(missing_ok=True)
        os.close(os.open(self.pid_file, os.O_WRONLY | os.O_CREAT, 0o600))
        if owner is not None:
            os.chown(self.pid_file, owner, group_of(owner))
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        become = 'echo $$ > "$0" && exec "$@"'
        # The outer shell ends at once, so that the server is no child of a notebook's kernel, whose end may take
        # all its children along, and whose memory may be measured with theirs.
        words = ["/bin/sh", "-c", '"$@" &', "sh", "/bin/sh", "-c", become, self.pid_file, *command]
        run([str(word) for word in words], self.log, cwd, owner, env, start_new_session=True)
        for _ in poll(time.monotonic() + 10, pause=0.002):
            if self.pid_file.read_text().endswith("\n"):
                return
        raise ServerError(f"A process that should serve {self.marker} does not start: is this machine overloaded?")

    def find(self) -> psutil.Process | None:
        """The living server, None when there is none."""
        try:
            process = psutil.Process(int(self.pid_file.read_text()))
            words = self._command_line(process)
        except (OSError, ValueError, psutil.Error):
            return None
        ours = any(word == str(self.marker) or word.endswith(f"={self.marker}") for word in words)
        return process if ours else None

    @staticmethod
    def _command_line(process: psutil.Process) -> list[str]:
        # While a process becomes another program, which takes it a moment, it has no command line. While one ends
        # that has many threads, the first may have ended and the others still hold its ports.
        for _ in poll(time.monotonic() + 1, pause=0.002):
            if process.status() != psutil.STATUS_ZOMBIE:
                if words := process.cmdline():
                    return words
            elif process.num_threads() <= 1:
                break
        return []

    def stop(self, signal: int, seconds: float = 30) -> bool:
        """Ask the server to end and wait for it; whether there was one.

        One that does not end in time is killed, which both servers survive.
        """
        process = self.find()
        if process is None:
            return False
        try:
            process.send_signal(signal)
            if not self._ends_within(seconds):
                process.kill()
                self._ends_within(seconds)
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied:
            raise ServerError(f"Process {process.pid} belongs to another user: run `make down` as that user.") from None
        return True

    def _ends_within(self, seconds: float) -> bool:
        # Not psutil's wait: in a container whose first process reaps no orphans, ended servers stay listed for ever.
        return any(self.find() is None for _ in poll(time.monotonic() + seconds, pause=0.01))

    def tail(self, secrets: Sequence[str], lines: int = 8) -> str:
        """The last lines of the log, without secrets, indented for the end of a sentence."""
        try:
            text = self.log.read_text("utf-8", errors="replace")
        except OSError:
            return "    (no log)"
        text = Redactor(secrets).text(text)
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def run(
    words: list[str], log: Path, cwd: Path, owner: int | None = None, env: dict[str, str] | None = None, **options
) -> int:
    """Run a command to its end with its output in a log file; its exit status."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=environment(**(env or {})),
            check=False,
            **({} if owner is None else {"user": owner, "group": group_of(owner), "extra_groups": []}),
            **options,
        ).returncode
    finally:
        os.close(output)


def group_of(owner: int) -> int:
    """The first group of a user id, the id itself when the system has no such account."""
    import pwd

    try:
        return pwd.getpwuid(owner).pw_gid
    except KeyError:
        return owner


def poll(deadline: float, pause: float = 0.03) -> Iterator[None]:
    """Yield until a deadline of `time.monotonic()`, with a pause between."""
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
