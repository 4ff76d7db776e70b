"""Server processes that outlive their starter: private files, free ports, start, find again, stop, and their logs.

What Postgres and the object store have in common. A process is told by its id *and* by its command line, which
names the store's folder, so that a reused process id is never taken for a server, nor another store's server for ours.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from duckbook.errors import ServerError

LOOPBACK = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections, so that a kept port stays free; the
# object store takes another port 10,000 above each of its own.
PORTS = range(15_000, 22_000)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads (0600), whole or not at all."""
    mine = path.with_name(f".{path.name}.{os.getpid()}")
    mine.unlink(missing_ok=True)
    with open(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    mine.replace(path)


def read_json(path: Path) -> dict:
    """The object in a JSON file, empty when there is no such file.

    Raises
    ------
    ServerError
        The file cannot be read or holds something else.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise ServerError(
            f"{path} belongs to another user: work as that user, or take a folder of your own with DUCKBOOK_DATA."
        ) from None
    except ValueError:
        raise ServerError(f"{path} is damaged: put it back from a copy, or begin anew with another DUCKBOOK_DATA.") from None


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
        raise ServerError(f"Fewer than {count} ports from {PORTS.start} to {PORTS.stop} are free: stop what listens there.")
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


def start(
    command: Sequence[str | Path], log: Path, cwd: Path, pid_file: Path | None = None, owner: int | None = None, **env: str
) -> subprocess.Popen:
    """Start a server in a session of its own, with its output in a log file and no pipe of the starter's.

    Parameters
    ----------
    pid_file
        Where the process notes its id *before* it becomes the server: a starter that is killed at any moment
        leaves no server that cannot be found again.
    owner
        User id to run as, where the starter is root and the server refuses to be.
    """
    words = [str(word) for word in command]
    if pid_file:
        words = ["/bin/sh", "-c", 'umask 077; echo $$ > "$0" && exec "$@"', str(pid_file), *words]
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment(**env),
            start_new_session=True,
            **({} if owner is None else {"user": owner, "group": owner_group(owner), "extra_groups": []}),
        )


def owner_group(owner: int) -> int:
    """The first group of a user id, the id itself when the system has no such account."""
    import pwd

    try:
        return pwd.getpwuid(owner).pw_gid
    except KeyError:
        return owner


def find(pid_file: Path, marker: Path) -> psutil.Process | None:
    """The living process that a pid file names, if its command line names `marker`."""
    try:
        process = psutil.Process(int(pid_file.read_text().split(maxsplit=1)[0]))
        alive = process.status() != psutil.STATUS_ZOMBIE
        ours = any(word.endswith(str(marker)) for word in process.cmdline())
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return process if alive and ours else None


def stop(process: psutil.Process, signal: int, seconds: float = 30) -> None:
    """Ask a process to end and wait for it; one that does not end in time is killed, which both servers survive."""
    try:
        process.send_signal(signal)
        process.wait(seconds)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(seconds)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise ServerError(f"Process {process.pid} belongs to another user: run `make down` as that user.") from None


def tail(log: Path, secrets: Sequence[str], lines: int = 8) -> str:
    """The last lines of a log, without secrets, indented for the end of a sentence."""
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError:
        return "    (no log)"
    for secret in secrets:
        text = text.replace(secret, "***")
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def poll(deadline: float, pause: float = 0.03) -> Iterator[None]:
    """Yield until a deadline of `time.monotonic()`, with a pause between."""
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
