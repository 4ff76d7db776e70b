"""Server processes that outlive their starter: free ports, environment, start, find, stop, and logs.

Shared by the embedded Postgres and S3. A process is identified by its id *and* by its command line, which contains its
data folder. So neither a reused process id nor the server of another data folder is mistaken for it.
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

# Below the range of ephemeral ports, so that a port stays free between starts. SeaweedFS uses a second port 10,000
# above each of its own.
PORTS = range(15_000, 22_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # Servers set this too; without it a port with lingering connections would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int, is_usable: Callable[[int], bool] = is_free) -> list[int]:
    """Return free ports of 127.0.0.1, chosen at random so that two concurrent starts rarely choose the same."""
    candidates = random.SystemRandom().sample(PORTS, k=len(PORTS))
    ports = list(itertools.islice(filter(is_usable, candidates), count))
    if len(ports) < count:
        raise ServerError(
            f"Fewer than {count} ports from {PORTS.start} to {PORTS.stop} are free: stop the programs that use them."
        )
    return ports


def is_listening(port: int, seconds: float = 1.0) -> bool:
    """Whether a process listens on this port of 127.0.0.1."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=seconds).close()
    except OSError:
        return False
    return True


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a server: a few variables only.

    A server lives long. It must not keep the tokens of the shell that started it, and variables such as PGDATA or
    WEED_* would override its configuration.
    """
    inherited = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in inherited if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"} | more


@dataclass(frozen=True)
class Daemon:
    """A server process, identified by its id and its command line.

    Parameters
    ----------
    pid_file
        File for the process id, written *before* the process becomes the server, so that the server can be found
        whenever its starter is killed.
    marker
        The server's data folder, which is on its command line.
    log
        Output of the server; the previous start's is kept as ``.1``.
    """

    pid_file: Path
    marker: Path
    log: Path

    def start(self, command: Sequence[str | Path], cwd: Path, owner: int | None = None, **env: str) -> None:
        """Start the server in a new session, detached from the starter and its pipes.

        Parameters
        ----------
        owner
            User id to run as, if the starter is root and the server refuses to be.

        Raises
        ------
        ServerError
            The process does not start.
        """
        self.pid_file.unlink(missing_ok=True)
        os.close(os.open(self.pid_file, os.O_WRONLY | os.O_CREAT, 0o600))
        if owner is not None:
            os.chown(self.pid_file, owner, group_of(owner))
        if self.log.exists():
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        become = 'echo $$ > "$0" && exec "$@"'
        # The outer shell ends at once, so that the server is not a child of a notebook's kernel: the end of a kernel
        # may kill its children, and their memory may count as its own.
        words = ["/bin/sh", "-c", '"$@" &', "sh", "/bin/sh", "-c", become, self.pid_file, *command]
        run([str(word) for word in words], self.log, cwd, owner, env, start_new_session=True)
        for _ in poll(time.monotonic() + 10, pause=0.002):
            if self.pid_file.read_text().endswith("\n"):
                return
        raise ServerError(f"The server of {self.marker} does not start: is this machine overloaded?")

    def find(self) -> psutil.Process | None:
        """Return the running server, or None."""
        try:
            process = psutil.Process(int(self.pid_file.read_text()))
            words = self._command_line(process)
        except (OSError, ValueError, psutil.Error):
            return None
        matches = any(word == str(self.marker) or word.endswith(f"={self.marker}") for word in words)
        return process if matches else None

    @staticmethod
    def _command_line(process: psutil.Process) -> list[str]:
        # During exec a process has no command line for a moment. While a process with many threads ends, its first
        # thread may be a zombie and the others still hold its ports.
        for _ in poll(time.monotonic() + 1, pause=0.002):
            if process.status() != psutil.STATUS_ZOMBIE:
                if words := process.cmdline():
                    return words
            elif process.num_threads() <= 1:
                break
        return []

    def stop(self, signal: int, seconds: float = 30) -> bool:
        """Stop the server with a signal, or kill it after `seconds`; return whether it was running."""
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
        # psutil's wait never returns in containers whose first process does not reap orphans.
        return any(self.find() is None for _ in poll(time.monotonic() + seconds, pause=0.01))

    def tail(self, secrets: Sequence[str], lines: int = 8) -> str:
        """Return the last lines of the log, without secrets, indented for the end of an error message."""
        try:
            text = self.log.read_text("utf-8", errors="replace")
        except OSError:
            return "    (no log)"
        text = Redactor(secrets).text(text)
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def run(
    words: list[str],
    log: Path,
    cwd: Path,
    owner: int | None = None,
    env: dict[str, str] | None = None,
    start_new_session: bool = False,
) -> int:
    """Run a command with its output in a log file; return its exit status."""
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
            user=owner,
            group=None if owner is None else group_of(owner),
            extra_groups=None if owner is None else [],
            start_new_session=start_new_session,
        ).returncode
    finally:
        os.close(output)


def group_of(owner: int) -> int:
    """Return the primary group of a user id, or the id itself if the system has no such account."""
    import pwd

    try:
        return pwd.getpwuid(owner).pw_gid
    except KeyError:
        return owner


def poll(deadline: float, pause: float = 0.03) -> Iterator[None]:
    """Yield repeatedly, with pauses, until a deadline of `time.monotonic()`."""
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
