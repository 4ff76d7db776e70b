"""Check a landing zone before ingesting it: what would be read, what is missing, what would be quarantined.

Nothing is changed. Sources are read into a temporary folder; the history, the warehouse and the servers are only read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path

import duckdb

from duckbook.backends import data_folder, storage
from duckbook.errors import IngestError, WarehouseError
from duckbook.ingest import batch_files, commit_log, erased_people, history, new_sources, order_statuses, sources
from duckbook.ingest.batches import Batch, History
from duckbook.ingest.reading import Reading
from duckbook.ops import landing_limit, landing_totals
from duckbook.settings import Endpoints, Settings
from duckbook.source_tables import SourceTable, source_tables
from duckbook.sql import listed, literal, quoted
from duckbook.transform import quarantine, rejections

FILES_PER_QUERY = 200


@dataclass(frozen=True)
class Finding:
    """Something to know before an ingest. `rows` is the number of rows or objects concerned."""

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
        One row per source table: table; found and new, in sources; landed, unreadable and quarantined, in rows of the
        new sources. Unreadable rows are not counted as quarantined, and unchanged sources are not new.
    findings
        Rows that would be quarantined and why, contradictions, drift, and sources that are missing or not read.
    totals
        `landing_totals.totals` of the new sources.
    stops
        One sentence per reason for which an ingest would fail.
    """

    tables: list[dict]
    findings: list[Finding]
    totals: list[dict]
    stops: list[str]


def check(settings: Settings, endpoints: Endpoints, as_of: date | None = None) -> CheckReport:
    """Read the new sources as an ingest would, and report.

    Parameters
    ----------
    as_of
        Last day of the data, as it would be given to a run; None to take it from the sources.

    Raises
    ------
    ServerError
        Postgres or the object storage does not answer.
    """
    client = storage.client(endpoints.s3)
    chronicle = commit_log.read(client, settings.s3_historic_bucket)
    landed = sources.discover(settings, endpoints, client)
    stops = [text for text in [_error_of(new_sources.check_complete, landed, chronicle, settings)] if text]
    new = new_sources.find_new(settings, endpoints, landed, chronicle, keep=False)
    findings = [Finding("", name, f"is not read: {why}", 1) for name, why in landed.ignored.items()]
    findings += [Finding("", "", text, 0) for text in [new_sources.as_of_warning(as_of)] if text]
    landed_tables = {source.table for source in landed.sources}
    findings += [
        Finding(table.name, "", "is missing", 0)
        for table in source_tables().values()
        if table.name not in landed_tables and not table.required
    ]
    landed_names = {source.name for source in landed.sources}
    findings += [
        Finding(batch.table, name, "is gone from the landing zone: its rows stay", 0)
        for name, batch in chronicle.newest.items()
        if name not in landed_names and not name.startswith(f"s3://{settings.s3_latest_bucket}/")
    ]
    data_folder.claim(settings.data)
    (settings.data / "tmp").mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="check-", dir=settings.data / "tmp") as folder,
        new_sources.reader(settings, endpoints, new) as connection,
    ):
        failed: dict[int, IngestError] = {}
        read = new_sources.read_all(connection, client, new, Path(folder), failed=failed)
        stops += [str(failed[number]) for number in sorted(failed)]
        readings, unchanged = history.without_repeats(read, chronicle)
        stops += filter(None, [_error_of(new_sources.check_as_of, as_of, readings, chronicle)])
        readings, _ = erased_people.remove_erased(connection, readings, chronicle)
        # Without orders there is no date, and `check_complete` has reported that they are missing.
        if readings and not as_of and "orders" in landed_tables:
            stops += filter(None, [_error_of(new_sources.newest_date, connection, readings, chronicle)])
        batches, files = _batches(connection, readings, chronicle, as_of)
        checked = _check_rows(connection, readings)
        quarantined = {id(r): checked.get(str(r.path), (0, []))[0] for r in readings}
        findings += _findings_of_keys(connection, settings.s3_historic_bucket, chronicle, readings)
        findings += _findings_of_statuses(connection, readings, settings)
        for r in readings:
            findings += _findings(connection, r, checked.get(str(r.path), (0, []))[1])
        totals = landing_totals.totals(connection, list(zip(batches, readings, strict=True)), settings)
        try:
            counts = landing_limit.quarantined_after_ingest(connection, settings, endpoints, chronicle, batches, files)
            stops += quarantine.violations(counts, settings)
        except WarehouseError as error:
            stops.append(str(error))
    tables = []
    for name in source_tables():
        table_readings = [r for r in readings if r.source.table == name]
        tables.append(
            {
                "table": name,
                "found": sum(s.table == name for s in landed.sources),
                "new": sum(s.table == name for s in new) - sum(r.source.table == name for r in unchanged),
                "landed": sum(r.landed for r in table_readings),
                "unreadable": sum(r.unreadable[1] for r in table_readings if r.unreadable),
                "quarantined": sum(quarantined[id(r)] for r in table_readings),
            }
        )
    return CheckReport(tables, findings, totals, stops)


def _batches(
    connection, readings: Sequence[Reading], chronicle: History, as_of: date | None
) -> tuple[list[Batch], batch_files.Files]:
    """Return the batches that an ingest would make of the readings, with all of their rows, and their files."""
    if not as_of:
        try:
            as_of = new_sources.newest_date(connection, readings, chronicle)
        except IngestError:
            as_of = new_sources.tomorrow()  # Any date will do: the ingest would fail.
    pairs = [batch_files.as_batch(connection, r, n, as_of) for n, r in enumerate(readings, chronicle.next_sequence)]
    return [batch for batch, _ in pairs], {key: path for _, files in pairs for key, path in files.items()}


def _error_of(function, *arguments) -> str:
    """Call a function and return the message of its `IngestError`, or an empty text."""
    try:
        function(*arguments)
    except IngestError as error:
        return str(error)
    return ""


def _findings_of_keys(connection, bucket: str, chronicle: History, readings: list[Reading]) -> Iterator[Finding]:
    """Report keys with conflicting records, and keys that a source no longer holds."""
    for name in dict.fromkeys(r.source.table for r in readings):
        table_readings = [r for r in readings if r.source.table == name]
        conflicting = batch_files.find_conflicting(connection, table_readings)
        for r in table_readings:
            keys, example = conflicting.get(str(r.path), (0, ""))
            if keys:
                yield Finding(
                    name, r.source.name, "keys with several records that differ: the last counts", keys, example
                )
            keys, example = batch_files.find_gone(connection, bucket, chronicle, r)
            if keys:
                yield Finding(name, r.source.name, "keys that are gone: their rows stay", keys, example)


def _findings_of_statuses(connection, readings: list[Reading], settings: Settings) -> Iterator[Finding]:
    """Report order statuses of unknown meaning."""
    with_status = [r for r in readings if r.source.table == "orders" and r.readable and "status" in r.columns]
    if with_status:
        files = f"read_parquet({listed(str(r.path) for r in with_status)}, union_by_name = true)"
        for word, rows in order_statuses.unknown_words(connection, files, settings):
            yield Finding("orders", "", order_statuses.describe(word), rows)


def _findings(connection: duckdb.DuckDBPyConnection, r: Reading, counts: Iterable[Count]) -> Iterator[Finding]:
    table, name = r.source.table, r.source.name
    for kind, columns in r.drift.items():
        if columns:
            yield Finding(table, name, f"columns {kind}", len(columns), ", ".join(columns))
    if r.unreadable:
        reasons = connection.execute(
            "select regexp_replace(reason, ' at (character|byte) [0-9]+$', '') as why, count(*), any_value(original) "
            f"from {literal(str(r.unreadable[0]))} group by why order by why"
        ).fetchall()
        yield from (Finding(table, name, f"unreadable: {why}", rows, text[:80]) for why, rows, text in reasons)
    yield from (Finding(table, name, finding, rows, (text or "")[:80]) for finding, rows, text in counts if rows)


Count = tuple[str, int, str | None]
"""A finding in words, its number of rows, and an example."""


def _check_rows(
    connection: duckdb.DuckDBPyConnection, readings: Iterable[Reading]
) -> dict[str, tuple[int, list[Count]]]:
    """Return file → its number of rows to quarantine, and its counts. Files of the same columns share a query."""

    def layout(r: Reading) -> tuple[str, tuple[str, ...]]:
        return r.source.table, r.columns

    results = {}
    for _, group in groupby(sorted((r for r in readings if r.readable), key=layout), key=layout):
        alike = list(group)
        table = source_tables()[alike[0].source.table]
        faults = list(rejections.faults(table, alike[0].columns))
        quarantined = [(f"quarantined: {fault.description}", fault.condition, fault.example) for fault in faults]
        conditions = [*quarantined, *_suspicious(table, alike[0].columns)]
        any_fault = " or ".join(f"({fault.condition})" for fault in faults) or "false"
        counts = ", ".join(
            f"count(*) filter ({condition}), any_value({example}) filter ({condition})"
            for _, condition, example in conditions
        )
        for n in range(0, len(alike), FILES_PER_QUERY):
            files = listed(str(r.path) for r in alike[n : n + FILES_PER_QUERY])
            rows = connection.execute(
                f"select filename, count(*) filter ({any_fault}){', ' if counts else ''}{counts} "
                f"from read_parquet({files}, filename = true) group by filename"
            ).fetchall()
            for file, rejected, *values in rows:
                each = zip((finding for finding, *_ in conditions), values[::2], values[1::2], strict=True)
                results[file] = (rejected, list(each))
    return results


def _suspicious(table: SourceTable, columns: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield values that are ingested but may be mistakes: finding, condition, and expression of an example."""
    tomorrow = literal(str(new_sources.tomorrow()))
    for column in table.columns:
        if column.name not in columns:
            continue
        value = rejections.typed(table, columns, column.name)
        if column.name == "quantity":
            yield "negative quantity", f"{value} < 0", quoted(column.name)
        if column.data_type == "timestamp" and column.name != "promised_at":
            yield f"{column.name} is after today", f"{value} > timestamp {tomorrow}", quoted(column.name)
