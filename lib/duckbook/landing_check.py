"""A look at a landing zone before it is ingested: what would be read, what is missing, what would be set aside.

Nothing is changed: sources are read into a folder of their own that is deleted afterwards, neither the history nor a
warehouse is written, and on servers of a person's own nothing is made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path

import duckdb

from duckbook import (
    appending,
    arrivals,
    commit_log,
    landing_totals,
    markers,
    order_statuses,
    quarantine,
    sources,
    storage,
    warehouse,
)
from duckbook.batches import Chronicle
from duckbook.endpoints import Endpoints
from duckbook.errors import IngestError, WarehouseError
from duckbook.reading import Reading
from duckbook.rows import key, listed, literal, quoted
from duckbook.settings import Settings
from duckbook.tables import cast_to, source_tables

EXAMPLES = 3

FILES_AT_ONCE = 200


@dataclass(frozen=True)
class Finding:
    """Something that a person should know before an ingest; `rows` says how many rows or objects it concerns."""

    table: str
    source: str
    finding: str
    rows: int
    example: str = ""

    @property
    def reason(self) -> str:
        """Why rows would be set aside, with the example; empty where the finding is of another kind."""
        kind, _, why = self.finding.partition(": ")
        shown = f" ({self.example!r})" if self.example else ""
        return f"{why}{shown}" if kind in {"quarantined", "unreadable"} else ""


@dataclass(frozen=True)
class CheckReport:
    """What an ingest would do.

    Attributes
    ----------
    tables
        One a source table: table, found, new (numbers of sources), landed, unreadable, quarantined (rows of the new
        ones; the last are those that staging would set aside beside the unreadable ones).
    findings
        What would be set aside and why, what contradicts itself, what drifts, what is missing or gone or not read.
    totals
        As `landing_totals.totals`, of the new sources.
    stops
        Sentences for which an ingest would fail; none when it would succeed.
    """

    tables: list[dict]
    findings: list[Finding]
    totals: list[dict]
    stops: list[str]


def check(settings: Settings, endpoints: Endpoints, as_of: date | None = None) -> CheckReport:
    """Look at the landing zone.

    Parameters
    ----------
    as_of
        Last day of data, as a run is to be given it; None where its sources tell it.

    Raises
    ------
    ServerError
        Postgres or the object store does not answer.
    """
    client = storage.client(endpoints.s3)
    chronicle = commit_log.read(client, settings.s3_historic_bucket)
    landed = sources.discover(settings, endpoints, client)
    stops = [text for text in [_stop(arrivals.check_complete, landed, chronicle, settings)] if text]
    new = arrivals.find_new(settings, endpoints, landed, chronicle, keep=False)
    findings = [Finding("", name, f"is not read: {why}", 1) for name, why in landed.ignored.items()]
    found = {source.table for source in landed.sources}
    findings += [
        Finding(table.name, "", "is missing", 0)
        for table in source_tables().values()
        if table.name not in found and not table.required
    ]
    here = {source.name for source in landed.sources}
    findings += [
        Finding(batch.table, name, "is gone from the landing zone: its rows stay", 0)
        for name, batch in chronicle.newest.items()
        if name not in here and not name.startswith(f"s3://{settings.s3_latest_bucket}/")
    ]
    readings: list[Reading] = []
    markers.claim(settings.data)
    (settings.data / "tmp").mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="check-", dir=settings.data / "tmp") as folder,
        arrivals.reader(settings, endpoints, new) as connection,
    ):
        for found_of in arrivals.read_all(connection, client, new, Path(folder), stop=False):
            if isinstance(found_of, IngestError):
                stops.append(str(found_of))
            else:
                readings.append(found_of)
        # Without orders there is no date to be told, and that they are missing is told already.
        if readings and not as_of and "orders" in found:
            stops += filter(None, [_stop(arrivals.newest_date, connection, readings, chronicle)])
        stops += filter(None, [_stop(arrivals.check_as_of, as_of, readings, chronicle)])
        counted = _count(connection, readings)
        counts = {id(r): counted.get(str(r.path), (0, []))[0] for r in readings}
        findings += _findings_of_keys(connection, settings.s3_historic_bucket, chronicle, readings)
        findings += _findings_of_statuses(connection, readings, settings)
        for r in readings:
            findings += _findings(connection, r, counted.get(str(r.path), (0, []))[1])
        totals = landing_totals.totals(connection, readings, _typed)
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
    held = [
        {
            "table": r.source.table,
            "source": r.source.name,
            "rows": r.landed,
            "quarantined": counts[id(r)] + (r.unreadable[1] if r.unreadable else 0),
            "reason": next((f.reason for f in findings if f.source == r.source.name and f.reason), ""),
        }
        for r in readings
    ]
    stops += _over_the_limit(settings, held, {source.name for source in new})
    return CheckReport(tables, findings, totals, stops)


def _over_the_limit(settings: Settings, held: list[dict], new: set[str]) -> list[str]:
    """What `quarantine` would say of these sources, and of those that were ingested before and are as they were."""
    if settings.target == "lake" or (settings.target == "duckdb" and settings.warehouse_path.exists()):
        try:
            with warehouse.open_warehouse(settings, read_only=True) as connection:
                before = quarantine.outstanding(connection)
        except (WarehouseError, duckdb.CatalogException):
            # In use, not there yet, or without staging: an ingest that was killed. What is new can be told without it.
            before = []
        held = held + [row for row in before if row["source"] and row["source"] not in new]
    whole = []
    for name in dict.fromkeys(row["table"] for row in held):
        mine = [row for row in held if row["table"] == name]
        sums = {count: sum(row[count] for row in mine) for count in ("rows", "quarantined")}
        reason = next((row["reason"] for row in mine if row["reason"]), "")
        whole.append({"table": name, "source": None, "reason": reason} | sums)
    return quarantine.sentences([*whole, *held], settings)


def _stop(step, *arguments) -> str:
    try:
        step(*arguments)
    except IngestError as error:
        return str(error)
    return ""


def _findings_of_keys(connection, bucket: str, chronicle: Chronicle, readings: list[Reading]) -> Iterator[Finding]:
    """Keys that contradict themselves in a source, and those that a source held before and holds no more."""
    for name in dict.fromkeys(r.source.table for r in readings):
        mine = [r for r in readings if r.source.table == name]
        conflicting = appending.find_conflicting(connection, mine)
        for r in mine:
            keys, example = conflicting.get(str(r.path), (0, ""))
            if keys:
                yield Finding(
                    name, r.source.name, "keys with several records that differ: the last counts", keys, example
                )
            keys, example = appending.find_gone(connection, bucket, chronicle, r)
            if keys:
                yield Finding(name, r.source.name, "keys that are gone: their rows stay", keys, example)


def _findings_of_statuses(connection, readings: list[Reading], settings: Settings) -> Iterator[Finding]:
    """Words for the status of an order that mean nothing that is known."""
    told = [r for r in readings if r.source.table == "orders" and r.readable and "status" in r.columns]
    if told:
        files = f"read_parquet({listed(str(r.path) for r in told)}, union_by_name = true)"
        for word, rows in order_statuses.unexplained(connection, files, settings):
            yield Finding("orders", "", order_statuses.sentence(word), rows)


def _findings(connection: duckdb.DuckDBPyConnection, r: Reading, counted: Iterable[Counted]) -> Iterator[Finding]:
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
    yield from (Finding(table, name, what, rows, (text or "")[:80]) for what, rows, text in counted if rows)


Counted = tuple[str, int, str | None]
"""What was looked for, in how many rows it was found, and an example."""


def _count(connection: duckdb.DuckDBPyConnection, readings: Iterable[Reading]) -> dict[str, tuple[int, list[Counted]]]:
    """File → how many rows staging would set aside, and what is told of its rows; files that are alike at once."""

    def told(r: Reading) -> tuple[str, tuple[str, ...]]:
        return r.source.table, r.columns

    found = {}
    for _, group in groupby(sorted((r for r in readings if r.readable), key=told), key=told):
        alike = list(group)
        faults = [(f"quarantined: {what}", fault, example) for what, fault, example in _faults(alike[0])]
        asked = [*faults, *_remarkable(alike[0])]
        any_fault = " or ".join(f"({fault})" for _, fault, _ in faults) or "false"
        counts = ", ".join(
            f"count(*) filter ({condition}), any_value({example}) filter ({condition})"
            for _, condition, example in asked
        )
        for n in range(0, len(alike), FILES_AT_ONCE):
            files = listed(str(r.path) for r in alike[n : n + FILES_AT_ONCE])
            rows = connection.execute(
                f"select filename, count(*) filter ({any_fault}){', ' if counts else ''}{counts} "
                f"from read_parquet({files}, filename = true) group by filename"
            ).fetchall()
            for file, set_aside, *values in rows:
                each = zip((what for what, *_ in asked), values[::2], values[1::2], strict=True)
                found[file] = (set_aside, list(each))
    return found


def _remarkable(r: Reading) -> Iterator[tuple[str, str, str]]:
    """What is ingested as it is and may be a mistake: in words, as a condition, and the expression of an example."""
    tomorrow = literal(str(arrivals.tomorrow()))
    for column in source_tables()[r.source.table].columns:
        if column.name not in r.columns:
            continue
        value = _typed(r, column.name)
        if column.name == "quantity":
            yield "negative quantity", f"{value} < 0", quoted(column.name)
        if column.data_type == "timestamp" and column.name != "promised_at":
            yield f"{column.name} is after today", f"{value} > timestamp {tomorrow}", quoted(column.name)


def _typed(r: Reading, name: str) -> str:
    """A column as staging would cast it; null where the source lacks it, text where nobody defined it."""
    if name not in r.columns:
        return "null"
    column = next((c for c in source_tables()[r.source.table].columns if c.name == name), None)
    cast = cast_to(column).format(_text(name)) if column else ""
    return f"({cast or _text(name)})"


def _text(name: str) -> str:
    return f"nullif(trim({quoted(name)}), '')"


def _faults(r: Reading) -> Iterator[tuple[str, str, str]]:
    """What staging would set a row aside for: in words, as a condition, and the expression that shows an example."""
    table = source_tables()[r.source.table]
    given = [column for column in table.columns if column.name in r.columns]
    if not table.derived_key:
        yield "the record has no key", f"({key(table, r.columns)}) is null", "''"
    for column in given:
        cast = cast_to(column)
        if cast:
            text = f"nullif(trim({quoted(column.name)}), '')"
            yield (
                f"{column.name} is no {column.data_type}",
                f"{text} is not null and ({cast.format(text)}) is null",
                text,
            )
    # Where there is no total, quantity times unit price stands for it, and has to fit it.
    if table.name == "order_items" and {"quantity", "unit_price"} <= set(r.columns):
        (kind,) = (column.data_type for column in table.columns if column.name == "total_price")
        amount = f"{_typed(r, 'quantity')}::bigint * {_typed(r, 'unit_price')}"
        total = _text("total_price") if "total_price" in r.columns else "null"
        yield (
            f"quantity x unit_price is no {kind}",
            f"{total} is null and {amount} is not null and try_cast({amount} as {kind}) is null",
            "concat_ws(' x ', quantity, unit_price)",
        )
