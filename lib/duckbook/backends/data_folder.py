"""Ownership of a data folder: a marker file, so that only files that duckbook created are ever removed.

The marker is written first and lists the files that were there before. Data folders of earlier versions have none;
they are recognized by their locks and servers, and get one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from duckbook import files

MARKER = "duckbook.json"

DESCRIPTION = (
    "A data folder of duckbook. `make clean` removes what duckbook has made in it, and nothing that was here before."
)

CREATED_FILES = frozenset(
    {
        *(MARKER, "servers", "warehouse.duckdb", "warehouse.duckdb.wal", "published", "features", "models", "bi"),
        *("dbt", "docs", "duckdb_extensions", "ipython", "tmp", "fingerprints.json"),
        *("restoring.json", "ingest.lock", "ingest.lease", "ingest-open.json", "writer.lock", "writer.json"),
    }
)
"""All files that duckbook creates in a data folder, except the leases of lakes."""

EVIDENCE = ("servers/secrets.json", "ingest.lock", "writer.lock")
"""Files by which a data folder without a marker is recognized."""


def claim(data: Path) -> None:
    """Create a data folder if it is missing, and mark it."""
    marker = data / MARKER
    if marker.exists():
        return
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = [] if is_data_folder(data) else sorted(path.name for path in data.iterdir())
    temporary = marker.with_name(f".{MARKER}.{os.getpid()}")
    files.write_private(temporary, json.dumps({"what": DESCRIPTION, "before": before}, indent=1) + "\n")
    # If another process marked the folder at the same time and started to fill it, its marker stays.
    try:
        os.link(temporary, marker)
    except FileExistsError:
        pass
    except OSError:  # A file system without links.
        if not marker.exists():
            temporary.replace(marker)
    temporary.unlink(missing_ok=True)


def is_data_folder(data: Path) -> bool:
    """Whether a folder is a data folder of duckbook."""
    return any((data / name).exists() for name in (MARKER, *EVIDENCE))


def made_by_duckbook(data: Path, name: str) -> bool:
    """Whether duckbook created an entry of a data folder."""
    is_lake_lease = name.startswith("lake-") and name.endswith(".lease")
    before = files.read_json(data / MARKER).get("before", ())
    return (name in CREATED_FILES or is_lake_lease) and name not in before
