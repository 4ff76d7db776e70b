"""How many rows are set aside, and how many may be: more than the limit fails a run before anything is published.

What counts is what the sources hold now. A row that was quarantined counts until it is fixed: until its source lands
without it, or a later record of its key is sound. So a run that failed succeeds once the source is fixed, although
the quarantine keeps what it ever took.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from duckbook.errors import QuarantineError
from duckbook.settings import Settings
from duckbook.source_tables import source_tables
from duckbook.transform import masking

if TYPE_CHECKING:
    import duckdb

A_FEW = 3
"""So many rows of any table may be quarantined: of ten rows one that is broken says little. Never over a third."""

BAD_ROWS = """
bad_{table} as (

    select
        base._key,
        base._row_hash,
        base._batch_id,
        base._row_number,
        base._rejection,
        places.place
    from ecom_staging.base_{table} as base
    inner join ecom_staging.stg_batches as places
        on base._batch_id = places.batch_id and places.table_name = '{table}'
    where base._state = 'quarantined'

),

sound_{table} as (

    select
        base._key,
        base._row_hash,
        places.place
    from (
        -- Before the join, after which a planner takes these for fewer than the bad ones, and keeps them all.
        select _key, _row_hash, _batch_id from ecom_staging.base_{table}
        where _state != 'quarantined' and _key in (select _key from bad_{table} where _key is not null)
    ) as base
    inner join ecom_staging.stg_batches as places
        on base._batch_id = places.batch_id and places.table_name = '{table}'

),

last_sound_{table} as (

    select _key, max(place) as place
    from (
        select _key, place from sound_{table}
        union all
        select sound._key, places.place
        from sound_{table} as sound
        inner join ecom_raw.sightings as sightings
            on sound._key = sightings._key and sound._row_hash = sightings._row_hash
        inner join ecom_staging.stg_batches as places
            on sightings._batch_id = places.batch_id and places.table_name = '{table}'
        where sightings.table_name = '{table}'
    )
    group by _key

),

seen_{table} as (

    select _key, _rejection, _batch_id, _row_number, place from bad_{table}
    union all
    select bad._key, bad._rejection, sightings._batch_id, sightings._row_number, places.place
    from bad_{table} as bad
    inner join (
        -- Each day brings more of them, and those of the newest batches alone are asked for.
        select _row_hash, _batch_id, _row_number from ecom_raw.sightings
        where table_name = '{table}' and _batch_id in (select batch_id from newest where table_name = '{table}')
    ) as sightings on bad._row_hash = sightings._row_hash
    inner join ecom_staging.stg_batches as places
        on sightings._batch_id = places.batch_id and places.table_name = '{table}'

),

held_{table} as (

    select distinct on (seen._batch_id, seen._row_number)
        '{table}' as table_name,
        seen._batch_id as batch_id,
        seen._rejection as reason
    from seen_{table} as seen
    inner join newest on seen._batch_id = newest.batch_id and newest.table_name = '{table}'
    left join last_sound_{table} as fixed on seen._key = fixed._key and fixed.place > seen.place

    where fixed._key is null

)"""
"""Quarantined rows of a table, as far as the newest batch of a source holds them and none fixed them since."""

HELD = """
with

newest as (

    select table_name, source, landed, batch_id
    from ecom_raw.batches
    qualify row_number() over (partition by table_name, source order by sequence desc) = 1

),
{tables},

held as (

    select table_name, batch_id, reason from ecom_raw.unreadable
    union all
    {held}

),

counted as (

    select table_name, batch_id, count(*) as quarantined, min(reason) as reason
    from held
    group by table_name, batch_id

)

select
    newest.table_name,
    newest.source,
    sum(newest.landed)::bigint as landed,
    sum(counted.quarantined)::bigint as quarantined,
    min(counted.reason) as reason
from newest
left join counted on newest.table_name = counted.table_name and newest.batch_id = counted.batch_id
group by grouping sets ((newest.table_name), (newest.table_name, newest.source))
having sum(counted.quarantined) > 0
order by newest.table_name, newest.source nulls first
"""


def outstanding(connection: duckdb.DuckDBPyConnection, masked: bool = True) -> list[dict]:
    """What the sources hold now that is quarantined, for each table that has any, and for each source of it.

    Parameters
    ----------
    connection
        A warehouse whose staging is built.
    masked
        Whether the reasons, which quote the value at fault, leave personal ones out.

    Returns
    -------
    list of dict
        table, source (None for the table as a whole), rows, quarantined (unreadable lines included), reason (one).
    """
    tables = ",\n".join(BAD_ROWS.format(table=name) for name in source_tables())
    held = "\n    union all\n    ".join(f"select * from held_{name}" for name in source_tables())
    names = ("table", "source", "rows", "quarantined", "reason")
    found = connection.execute(HELD.format(tables=tables, held=held)).fetchall()
    rows = [dict(zip(names, row, strict=True)) for row in found]
    return [row | {"reason": masking.masked(row["reason"])} for row in rows] if masked else rows


def allowed(rows: int, settings: Settings) -> int:
    """How many of so many rows may be quarantined: the share that the setting lets pass, or a few of a small table."""
    share = int(settings.quarantine_limit * rows)
    return max(share, min(A_FEW, rows // 3)) if settings.quarantine_limit else 0


def sentences(found: Iterable[dict], settings: Settings) -> list[str]:
    """A sentence for each table or source of `outstanding` that has more quarantined rows than the limit lets pass.

    A table whose sources are told already is not told again.
    """
    over = [row for row in found if row["quarantined"] > allowed(row["rows"], settings)]
    by_source = {row["table"] for row in over if row["source"]}
    return [
        f"{row['table']}: {row['quarantined']:,} of the {row['rows']:,} rows {_of(row)} are quarantined, more than the "
        f"{allowed(row['rows'], settings):,} that DUCKBOOK_QUARANTINE_LIMIT={settings.quarantine_limit:g} lets pass; "
        f"for example {row['reason']}. Fix them at the source, land it again, and run again; or raise the limit."
        for row in over
        if row["source"] or row["table"] not in by_source
    ]


def _of(row: dict) -> str:
    return f"of {row['source']}" if row["source"] else "that its sources hold"


def hold_to_limit(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """See that no more rows are quarantined than the setting lets pass.

    Raises
    ------
    QuarantineError
        More are; the sentence names the table, the count, the limit and the remedy.
    """
    found = sentences(outstanding(connection, settings.mask_personal), settings)
    if found:
        more = f" And {len(found) - 3} more like these." if len(found) > 3 else ""
        raise QuarantineError(" ".join(found[:3]) + more + " ecom_raw.quarantine holds every one of the rows.")
