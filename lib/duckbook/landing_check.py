"""A look at a landing zone before it is ingested: what would be read, what is missing, what would be set aside.

Nothing is changed: sources are read into a folder of their own that is deleted afterwards, and neither the history nor
a warehouse is touched.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from duckbook import arrivals, commit_log, sources, storage
from duckbook.endpoints import Endpoints
from duckbook.errors import IngestError
from duckbook.reading import Reading
from duckbook.rows import key, literal, quoted
from duckbook.settings import Settings
from duckbook.tables import Column, source_tables

EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """Something that a person should know before an ingest; `rows` says how many rows or objects it concerns."""

    table: str
    source: str
    finding: str
    rows: int
    example: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What an ingest would do.

    Attributes
    ----------
    tables
        One a source table: table, found, new (numbers of sources), landed, unreadable, quarantined (rows of the new
        ones; an estimate of what staging would set aside).
    findings
        What would be set aside and why, what drifts, what is missing, what is not read.
    stops
        Sentences for which an ingest would fail; none when it would succeed.
    """

    tables: list[dict]
    findings: list[Finding]
    stops: list[str]


def check(settings: Settings, endpoints: Endpoints) -> CheckReport:
    """Look at the landing zone.

    Raises
    ------
    ServerError
        Postgres or the object store does not answer.
    """
    client = storage.client(endpoints.s3)
    chronicle = commit_log.read(client, settings.s3_historic_bucket)
    landed = sources.discover(settings, endpoints, client)
    stops = [text for text in [_stop(arrivals.check_complete, landed, chronicle, settings)] if text]
    new = arrivals.find_new(endpoints, landed, chronicle)
    findings = [Finding("", name, "is not read: no source table has that name", 1) for name in landed.ignored]
    readings: list[Reading] = []
    (settings.data / "tmp").mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="check-", dir=settings.data / "tmp") as folder,
        arrivals.reader(settings, endpoints, new) as connection,
    ):
        for number, source in enumerate(new):
            mine = Path(folder) / str(number)
            mine.mkdir()
            try:
                readings += arrivals.read_all(connection, client, [source], mine)
            except IngestError as error:
                stops.append(str(error))
        counts = {id(r): _quarantined(connection, r) for r in readings}
        for r in readings:
            findings += _findings(connection, r)
    tables = []
    for name in source_tables():
        mine = [r for r in readings if r.source.table == name]
        tables.append(
            {
                "table": name,
                "found": sum(s.table == name for s in landed.sources),
                "new": sum(s.table == name for s in new),
                "landed": sum(r.landed for r in mine),
                "unreadable": sum(r.unreadable[1] for r in mine if r.unreadable),
                "quarantined": sum(counts[id(r)] for r in mine),
            }
        )
    return CheckReport(tables, findings, stops)


def _stop(step, *arguments) -> str:
    try:
        step(*arguments)
    except IngestError as error:
        return str(error)
    return ""


def _findings(connection: duckdb.DuckDBPyConnection, r: Reading) -> Iterator[Finding]:
    table, name = r.source.table, r.source.name
    for kind, columns in r.drift.items():
        if columns:
            yield Finding(table, name, f"columns {kind}", len(columns), ", ".join(columns))
    if r.unreadable:
        found = connection.execute(
            "select regexp_replace(reason, ' at (character|byte) [0-9]+$', '') as why, count(*), any_value(original) "
            f"from {literal(str(r.unreadable[0]))} group by why order by why"
        ).fetchall()
        yield from (Finding(table, name, f"unreadable: {why}", rows, text[:80]) for why, rows, text in found)
    for what, fault, example in _faults(r):
        rows, text = connection.execute(
            f"select count(*), any_value({example}) from {literal(str(r.path))} where {fault}"
        ).fetchone()
        if rows:
            yield Finding(table, name, f"quarantined: {what}", rows, (text or "")[:80])


def _quarantined(connection: duckdb.DuckDBPyConnection, r: Reading) -> int:
    faults = " or ".join(f"({fault})" for _, fault, _ in _faults(r))
    query = f"select count(*) from {literal(str(r.path))} where {faults or 'false'}"
    return connection.execute(query).fetchone()[0] if r.readable else 0


def _faults(r: Reading) -> Iterator[tuple[str, str, str]]:
    """What staging would set a row aside for: in words, as a condition, and the expression that shows an example."""
    table = source_tables()[r.source.table]
    given = [column for column in table.columns if column.name in r.columns]
    if not table.derived_key:
        yield "the record has no key", f"({key(table, r.columns)}) is null", "''"
    for column in given:
        cast = _cast(column)
        if cast:
            text = f"nullif(trim({quoted(column.name)}), '')"
            yield (
                f"{column.name} is no {column.data_type}",
                f"{text} is not null and ({cast.format(text)}) is null",
                text,
            )


def _cast(column: Column) -> str:
    """The cast that staging tries, {} being the text; empty for text, which needs none."""
    kind = column.data_type
    if kind == "integer":
        return "case when try_cast({} as decimal(18, 4)) % 1 = 0 then 1 end"
    if kind == "boolean":
        return "coalesce(try_cast({0} as boolean), case when {0} in ('1.0', '0.0') then true end)"
    if kind == "timestamp":
        return "coalesce(try_cast({0} as timestamp), try_cast({0} as timestamptz) at time zone 'UTC')"
    return "" if kind == "varchar" else f"try_cast({{}} as {kind})"
