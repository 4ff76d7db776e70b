"""What a data folder holds of ours: told by a file in it, so that nothing of somebody else's is ever removed with it.

The file is made before anything else, and names what was there already. A folder that an earlier version made has none;
it is known by its locks and its servers, and gets one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from duckbook import files

MARK = "duckbook.json"

WHAT = "A data folder of duckbook. `make clean` removes what duckbook has made in it, and nothing that was here before."

OURS = frozenset(
    {
        *(MARK, "servers", "warehouse.duckdb", "warehouse.duckdb.wal", "published", "features", "models", "bi"),
        *("dbt", "docs", "duckdb_extensions", "ipython", "tmp", "fingerprints.json"),
        *("restoring.json", "ingest.lock", "ingest.lease", "ingest-open.json", "writer.lock", "writer.json"),
    }
)
"""Whatever duckbook makes in a data folder."""

SIGNS = ("servers/secrets.json", "ingest.lock", "writer.lock")
"""What tells a data folder without a mark."""


def claim(data: Path) -> None:
    """Make a data folder where there is none, and mark it."""
    mark = data / MARK
    if mark.exists():
        return
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = [] if is_ours(data) else sorted(path.name for path in data.iterdir())
    mine = mark.with_name(f".{MARK}.{os.getpid()}")
    files.write_private(mine, json.dumps({"what": WHAT, "before": before}, indent=1) + "\n")
    # Another process may have marked it meanwhile, and begun to fill it: the first mark counts.
    try:
        os.link(mine, mark)
    except FileExistsError:
        pass
    except OSError:  # A file system without links.
        if not mark.exists():
            mine.replace(mark)
    mine.unlink(missing_ok=True)


def is_ours(data: Path) -> bool:
    """Whether a folder is a data folder."""
    return any((data / sign).exists() for sign in (MARK, *SIGNS))


def made(data: Path, name: str) -> bool:
    """Whether an entry of a data folder was made by duckbook."""
    is_lease_of_a_lake = name.startswith("lake-") and name.endswith(".lease")
    return (name in OURS or is_lease_of_a_lake) and name not in files.read_json(data / MARK).get("before", ())
