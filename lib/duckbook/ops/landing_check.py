"""A look at a landing zone before it is ingested: what would be read, what is missing, what would be set aside.

Nothing is changed: sources are read into a folder of their own that is deleted afterwards, neither the history nor a
warehouse is written, and on servers of a person's own nothing is made.
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


@dataclass(frozen=True)
class CheckReport:
    """What an ingest would do.

    Attributes
    ----------
    tables
        One a source table: table, found, new (numbers of sources), landed, unreadable, quarantined (rows of the new
        ones; the last are those that staging would set aside beside the unreadable ones). A source that was read and is
        as it was is not new.
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
    stops = [text for text in [_stop(new_sources.check_complete, landed, chronicle, settings)] if text]
    new = new_sources.find_new(settings, endpoints, landed, chronicle, keep=False)
    findings = [Finding("", name, f"is not read: {why}", 1) for name, why in landed.ignored.items()]
    findings += [Finding("", "", told, 0) for told in [new_sources.as_of_warning(as_of)] if told]
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
    data_folder.claim(settings.data)
    (settings.data / "tmp").mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="check-", dir=settings.data / "tmp") as folder,
        new_sources.reader(settings, endpoints, new) as connection,
    ):
        read = new_sources.read_all(connection, client, new, Path(folder), stop=False)
        stops += [str(error) for error in read if isinstance(error, IngestError)]
        readings, same = history.without_repeats([r for r in read if isinstance(r, Reading)], chronicle)
        stops += filter(None, [_stop(new_sources.check_as_of, as_of, readings, chronicle)])
        readings, _ = erased_people.remove_erased(connection, readings, chronicle)
        # Without orders there is no date to be told, and that they are missing is told already.
        if readings and not as_of and "orders" in found:
            stops += filter(None, [_stop(new_sources.newest_date, connection, readings, chronicle)])
        batches, files = _batches(connection, readings, chronicle, as_of)
        counted = _count(connection, readings)
        counts = {id(r): counted.get(str(r.path), (0, []))[0] for r in readings}
        findings += _findings_of_keys(connection, settings.s3_historic_bucket, chronicle, readings)
        findings += _findings_of_statuses(connection, readings, settings)
        for r in readings:
            findings += _findings(connection, r, counted.get(str(r.path), (0, []))[1])
        totals = landing_totals.totals(connection, list(zip(batches, readings, strict=True)), settings)
        try:
            held = landing_limit.outstanding(connection, settings, endpoints, chronicle, batches, files)
            stops += quarantine.violations(held, settings)
        except WarehouseError as error:
            stops.append(str(error))
    tables = []
    for name in source_tables():
        mine = [r for r in readings if r.source.table == name]
        tables.append(
            {
                "table": name,
                "found": sum(s.table == name for s in landed.sources),
                "new": sum(s.table == name for s in new) - sum(r.source.table == name for r in same),
                "landed": sum(r.landed for r in mine),
                "unreadable": sum(r.unreadable[1] for r in mine if r.unreadable),
                "quarantined": sum(counts[id(r)] for r in mine),
            }
        )
    return CheckReport(tables, findings, totals, stops)


def _batches(
    connection, readings: Sequence[Reading], chronicle: History, as_of: date | None
) -> tuple[list[Batch], batch_files.Files]:
    """What was read as the batches that an ingest would make of it, each with all of its rows; and their files."""
    if not as_of:
        try:
            as_of = new_sources.newest_date(connection, readings, chronicle)
        except IngestError:
            as_of = new_sources.tomorrow()  # The ingest would fail for it.
    made = [batch_files.as_batch(connection, r, n, as_of) for n, r in enumerate(readings, chronicle.next_sequence)]
    return [batch for batch, _ in made], {key: path for _, files in made for key, path in files.items()}


def _stop(step, *arguments) -> str:
    try:
        step(*arguments)
    except IngestError as error:
        return str(error)
    return ""


def _findings_of_keys(connection, bucket: str, chronicle: History, readings: list[Reading]) -> Iterator[Finding]:
    """Keys that contradict themselves in a source, and those that a source held before and holds no more."""
    for name in dict.fromkeys(r.source.table for r in readings):
        mine = [r for r in readings if r.source.table == name]
        conflicting = batch_files.find_conflicting(connection, mine)
        for r in mine:
            keys, example = conflicting.get(str(r.path), (0, ""))
            if keys:
                yield Finding(
                    name, r.source.name, "keys with several records that differ: the last counts", keys, example
                )
            keys, example = batch_files.find_gone(connection, bucket, chronicle, r)
            if keys:
                yield Finding(name, r.source.name, "keys that are gone: their rows stay", keys, example)


def _findings_of_statuses(connection, readings: list[Reading], settings: Settings) -> Iterator[Finding]:
    """Words for the status of an order that mean nothing that is known."""
    told = [r for r in readings if r.source.table == "orders" and r.readable and "status" in r.columns]
    if told:
        files = f"read_parquet({listed(str(r.path) for r in told)}, union_by_name = true)"
        for word, rows in order_statuses.unknown_words(connection, files, settings):
            yield Finding("orders", "", order_statuses.describe(word), rows)


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
        table = source_tables()[alike[0].source.table]
        faults = list(rejections.faults(table, alike[0].columns))
        quarantined = [(f"quarantined: {fault.description}", fault.condition, fault.example) for fault in faults]
        asked = [*quarantined, *_remarkable(table, alike[0].columns)]
        any_fault = " or ".join(f"({fault.condition})" for fault in faults) or "false"
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


def _remarkable(table: SourceTable, columns: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """What is ingested as it is and may be a mistake: in words, as a condition, and the expression of an example."""
    tomorrow = literal(str(new_sources.tomorrow()))
    for column in table.columns:
        if column.name not in columns:
            continue
        value = rejections.typed(table, columns, column.name)
        if column.name == "quantity":
            yield "negative quantity", f"{value} < 0", quoted(column.name)
        if column.data_type == "timestamp" and column.name != "promised_at":
            yield f"{column.name} is after today", f"{value} > timestamp {tomorrow}", quoted(column.name)
