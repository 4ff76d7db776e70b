"""Publishing the marts: readers see whole, tested results and hold no lock on the warehouse.

A publication is a folder ``data/published/<run_id>/`` with ``MART.parquet`` for each mart and ``publication.json``,
which says what is in it. The file ``CURRENT`` names the one that readers take; it is replaced in one move when
everything is there. Earlier publications stay for a while, so that a reader in the middle of a query is not disturbed
and one can go back. Personal columns are masked unless a setting says otherwise. On MotherDuck the published marts are
tables of a schema that is switched in one transaction (`motherduck`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook import contracts, motherduck, personal, runs
from duckbook.errors import PublishError
from duckbook.processes import write_private
from duckbook.settings import Settings

if TYPE_CHECKING:
    import duckdb

SCHEMA = "ecom_marts"

INTERNAL = {"reconciliation"}
"""Tables beside the marts that serve their tests."""

BAD = {"fail", "error", "runtime error", "skipped"}
"""Statuses of dbt after which marts are not published."""


@dataclass(frozen=True)
class Publication:
    """Published marts: which run made them, of which as-of date, the rows of each, and whether persons are masked."""

    run_id: str
    as_of: str | None
    marts: dict[str, int]
    masked: bool = True


@dataclass(frozen=True)
class Published:
    """The published marts, open to be read as ``ecom_marts.MART`` on `connection`; a context that closes it."""

    connection: duckdb.DuckDBPyConnection
    publication: Publication

    def __enter__(self) -> Published:
        return self

    def __exit__(self, *_error: object) -> None:
        self.connection.close()


def publish(settings: Settings, run_id: str | None = None, *, keep: int = 5) -> Publication:
    """Publish the marts of the warehouse.

    Parameters
    ----------
    run_id
        The run that publishes; None: the one that the chain's environment names, or a name by the time.
    keep
        How many publications stay, this one included.

    Raises
    ------
    PublishError
        There are no marts, or their tests did not pass; what is published stays as it was.
    QuarantineError
        More rows are quarantined than the setting lets pass.
    WarehouseLocked
        Another process has the warehouse open for writing.
    """
    from duckbook import warehouse

    run_id = run_id or os.environ.get("DUCKBOOK_RUN_ID") or f"lab-{runs.now()[:19].replace(':', '')}"
    with closing(warehouse.open_warehouse(settings, read_only=True)) as connection:
        names = _marts(connection)
        _refuse_untested(settings, connection)
        declared = contracts.of_marts(settings.data)
        marts = personal.queries(connection, SCHEMA, names, declared, masked=settings.mask_personal)
        as_of = connection.execute("select max(as_of)::varchar from ecom_raw.as_of").fetchone()[0]
        if settings.target == "motherduck":
            return Publication(run_id, as_of, motherduck.publish(connection, marts, run_id, as_of))
        return _publish_files(settings, connection, marts, run_id, as_of, keep)


def _publish_files(
    settings: Settings, connection, marts: dict[str, str], run_id: str, as_of: str | None, keep: int
) -> Publication:
    folder = _folder(settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = folder / f".making-{run_id}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    declared = contracts.of_marts(settings.data)
    entries = {}
    for mart, query in marts.items():
        file = making / f"{mart}.parquet"
        order = ", ".join(f'"{column}"' for column in declared[mart].grain) or "all"
        rows_in_order = f"{query} order by {order}"
        connection.execute(f"copy ({rows_in_order}) to '{_quoted(file)}' (format parquet, compression zstd)")
        (rows,) = connection.execute(f"select count(*) from '{_quoted(file)}'").fetchone()
        entries[mart] = {"rows": rows, "sha256": _sha256(file)}
    told = {"run_id": run_id, "as_of": as_of, "target": settings.target, "masked": settings.mask_personal}
    told["marts"] = entries
    write_private(making / "publication.json", json.dumps(told, indent=1))
    # A run that publishes twice leaves what its readers may have open alone.
    number, final = 1, folder / run_id
    while final.exists():
        number, final = number + 1, folder / f"{run_id}-{number + 1}"
    making.replace(final)
    _point_at(settings, final.name)
    _prune(settings, keep)
    return _read(final)


def published(settings: Settings, as_of: str | None = None) -> Published:
    """Open a publication: an in-memory DuckDB with a view a mart, which locks nothing.

    Parameters
    ----------
    as_of
        The as-of date (ISO) of the publication that is taken; None: the current one.

    Raises
    ------
    PublishError
        Nothing has been published yet; the sentence names the notebook to run first. Or none of that date is kept.
    """
    from duckbook import warehouse

    connection = warehouse.engine(settings)
    connection.execute(f"create schema {SCHEMA}")
    if settings.target == "motherduck":
        publication = Publication(*motherduck.attach(connection, settings, SCHEMA))
        if as_of not in (None, publication.as_of):
            raise PublishError(
                f"MotherDuck keeps one publication, as of {publication.as_of}: there is none of {as_of}."
            )
        return Published(connection, publication)
    folder = _current(settings) if as_of is None else _of_date(settings, as_of)
    publication = _read(folder)
    for mart in publication.marts:
        file = _quoted(folder / f"{mart}.parquet")
        connection.execute(f"create view {SCHEMA}.{mart} as select * from read_parquet('{file}')")
    return Published(connection, publication)


def files(settings: Settings, published: Published, folder: Path) -> dict[str, Path]:
    """Each mart of an open publication as a Parquet file: its own, or one that is written into `folder`."""
    own = _folder(settings) / published.publication.run_id
    is_there = (own / "publication.json").is_file()
    found = {mart: (own if is_there else folder) / f"{mart}.parquet" for mart in published.publication.marts}
    for mart, file in () if is_there else found.items():
        query = f"copy (select * from {SCHEMA}.{mart} order by all) to '{_quoted(file)}'"
        published.connection.execute(f"{query} (format parquet, compression zstd)")
    return found


def publications(settings: Settings) -> list[Publication]:
    """The publications that are kept, newest first."""
    folders = _folder(settings).glob("*/publication.json")
    return [_read(file.parent) for file in sorted(folders, key=lambda f: f.stat().st_mtime, reverse=True)]


def current(settings: Settings) -> Publication | None:
    """The publication that readers take, or None; light enough for a look at the state."""
    try:
        return _read(_current(settings))
    except PublishError:
        return None


def roll_back(settings: Settings, run_id: str) -> Publication:
    """Point readers at an earlier publication.

    Raises
    ------
    PublishError
        It is not kept.
    """
    folder = _folder(settings) / run_id
    if not (folder / "publication.json").is_file():
        kept = ", ".join(publication.run_id for publication in publications(settings)) or "none"
        raise PublishError(f"There is no publication {run_id}: kept are {kept}.")
    _point_at(settings, run_id)
    return _read(folder)


def _folder(settings: Settings) -> Path:
    return settings.data / "published"


def _current(settings: Settings) -> Path:
    folder = _folder(settings)
    try:
        named = folder / (folder / "CURRENT").read_text("utf-8").strip()
    except FileNotFoundError:
        raise PublishError("Nothing has been published yet: run 07_publish.ipynb first, or `make pipeline`.") from None
    if not (named / "publication.json").is_file():
        raise PublishError(f"The publication {named.name} is gone: publish again with 07_publish.ipynb.")
    return named


def _of_date(settings: Settings, as_of: str) -> Path:
    """The folder of the newest publication of an as-of date; the current one where it is of that date."""
    now = current(settings)
    kept = publications(settings)
    for publication in ([now] if now else []) + kept:
        if publication.as_of == as_of:
            return _folder(settings) / publication.run_id
    dates = ", ".join(sorted({str(publication.as_of) for publication in kept})) or "none"
    raise PublishError(f"No publication as of {as_of} is kept: there are {dates}.")


def _read(folder: Path) -> Publication:
    told = json.loads((folder / "publication.json").read_text("utf-8"))
    rows = {mart: entry["rows"] for mart, entry in told["marts"].items()}
    # What was published before there were masks holds the values.
    return Publication(folder.name, told["as_of"], rows, told.get("masked", False))


def _point_at(settings: Settings, name: str) -> None:
    write_private(_folder(settings) / "CURRENT", name + "\n")


def _prune(settings: Settings, keep: int) -> None:
    """Remove what is beyond the last few, and what a killed publication left."""
    kept = {publication.run_id for publication in publications(settings)[: max(keep, 1)]} | {_current(settings).name}
    for folder in _folder(settings).iterdir():
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _marts(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "select table_name from information_schema.tables "
        "where table_schema = ? and table_catalog = current_database() order by table_name",
        [SCHEMA],
    ).fetchall()
    marts = [name for (name,) in rows if name not in INTERNAL and not name.startswith("_")]
    if not marts:
        raise PublishError("The warehouse holds no marts: run 06_marts.ipynb first, or `make pipeline`.")
    return marts


def _refuse_untested(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Only marts whose newest build passed all its tests, and that add up, are published."""
    from duckbook import quarantine, reconcile

    results = _artifact(settings, "layers/marts.json").get("results")
    if not results:
        raise PublishError("The marts have not been tested: run 06_marts.ipynb first, or `make pipeline`.")
    failed = sorted(result["unique_id"].split(".")[2] for result in results if result["status"] in BAD)
    if failed:
        raise PublishError(
            f"Tests of the marts did not pass: {', '.join(failed[:5])}. Mend them and run 06_marts.ipynb."
        )
    unequal = [f"{row['mart']}.{row['measure']}" for row in reconcile.marts(connection) if not row["equal"]]
    if unequal:
        raise PublishError(f"Marts differ from staging in {', '.join(unequal[:5])}: run 06_marts.ipynb and see why.")
    quarantine.hold_to_limit(connection, settings)


def _artifact(settings: Settings, name: str) -> dict[str, Any]:
    """One of the files in which dbt tells what it did, in the folder that `transform` gives it."""
    try:
        return json.loads((settings.data / "dbt" / name).read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _quoted(file: Path) -> str:
    return str(file).replace("'", "''")
