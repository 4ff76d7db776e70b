"""Count quarantined rows and enforce the limit: a run with more fails before anything is published.

Only rows that the sources still hold count. A quarantined row counts until it is fixed: until its source lands without
it, or a later record of its key is valid. So a failed run succeeds once the source is fixed, although the quarantine
keeps every row.
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

SMALL_TABLE_LIMIT = 3
"""This many rows of a small table may be quarantined, but at most a third: one bad row in ten proves little."""

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

valid_{table} as (

    select
        base._key,
        base._row_hash,
        places.place
    from (
        -- Filter before the join: after it the planner underestimates these rows and builds its hash table of them.
        select _key, _row_hash, _batch_id from ecom_staging.base_{table}
        where _state != 'quarantined' and _key in (select _key from bad_{table} where _key is not null)
    ) as base
    inner join ecom_staging.stg_batches as places
        on base._batch_id = places.batch_id and places.table_name = '{table}'

),

last_valid_{table} as (

    select _key, max(place) as place
    from (
        select _key, place from valid_{table}
        union all
        select valid._key, places.place
        from valid_{table} as valid
        inner join ecom_raw.sightings as sightings
            on valid._key = sightings._key and valid._row_hash = sightings._row_hash
        inner join ecom_staging.stg_batches as places
            on sightings._batch_id = places.batch_id and places.table_name = '{table}'
        where sightings.table_name = '{table}'
    )
    group by _key

),

landed_{table} as (

    select _key, _rejection, _batch_id, _row_number, place from bad_{table}
    union all
    select bad._key, bad._rejection, sightings._batch_id, sightings._row_number, places.place
    from bad_{table} as bad
    inner join (
        -- This table grows daily, and only the newest batches matter.
        select _row_hash, _batch_id, _row_number from ecom_raw.sightings
        where table_name = '{table}' and _batch_id in (select batch_id from newest where table_name = '{table}')
    ) as sightings on bad._row_hash = sightings._row_hash
    inner join ecom_staging.stg_batches as places
        on sightings._batch_id = places.batch_id and places.table_name = '{table}'

),

current_{table} as (

    select distinct on (landed._batch_id, landed._row_number)
        '{table}' as table_name,
        landed._batch_id as batch_id,
        landed._rejection as reason
    from landed_{table} as landed
    inner join newest on landed._batch_id = newest.batch_id and newest.table_name = '{table}'
    left join last_valid_{table} as fixed on landed._key = fixed._key and fixed.place > landed.place

    where fixed._key is null

)"""
"""Quarantined rows of a table that the newest batch of a source still holds and no later record has fixed."""

COUNTS = """
with

newest as (

    select table_name, source, landed, batch_id
    from ecom_raw.batches
    qualify row_number() over (partition by table_name, source order by sequence desc) = 1

),
{tables},

current_rows as (

    select table_name, batch_id, reason from ecom_raw.unreadable
    union all
    {current_rows}

),

counted as (

    select table_name, batch_id, count(*) as quarantined, min(reason) as reason
    from current_rows
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


def counts(connection: duckdb.DuckDBPyConnection, masked: bool = True) -> list[dict]:
    """Count the quarantined rows that the sources still hold, per table with any and per source of it.

    Parameters
    ----------
    connection
        A warehouse whose staging is built.
    masked
        Mask personal values in the reasons, which quote the failing value.

    Returns
    -------
    list of dict
        table, source (None for the whole table), rows, quarantined (including unreadable lines), reason (an example).
    """
    tables = ",\n".join(BAD_ROWS.format(table=name) for name in source_tables())
    current_rows = "\n    union all\n    ".join(f"select * from current_{name}" for name in source_tables())
    names = ("table", "source", "rows", "quarantined", "reason")
    found = connection.execute(COUNTS.format(tables=tables, current_rows=current_rows)).fetchall()
    rows = [dict(zip(names, row, strict=True)) for row in found]
    return [row | {"reason": masking.mask_text(row["reason"])} for row in rows] if masked else rows


def allowed(rows: int, settings: Settings) -> int:
    """How many of `rows` may be quarantined: the share in the settings, or a few rows of a small table."""
    share = int(settings.quarantine_limit * rows)
    return max(share, min(SMALL_TABLE_LIMIT, rows // 3)) if settings.quarantine_limit else 0


def violations(rows: Iterable[dict], settings: Settings) -> list[str]:
    """One sentence per source of `counts` over the limit, or per table if none of its sources is.

    Each names the count, the limit, an example and the remedy.
    """
    over = [row for row in rows if row["quarantined"] > allowed(row["rows"], settings)]
    by_source = {row["table"] for row in over if row["source"]}
    return [
        f"{row['table']}: {row['quarantined']:,} of the {row['rows']:,} rows {_origin(row)} are quarantined, more than "
        f"the {allowed(row['rows'], settings):,} that DUCKBOOK_QUARANTINE_LIMIT={settings.quarantine_limit:g} allows; "
        f"for example {row['reason']}. Fix them at the source, land it again, and run again; or raise the limit."
        for row in over
        if row["source"] or row["table"] not in by_source
    ]


def _origin(row: dict) -> str:
    return f"of {row['source']}" if row["source"] else "in its sources"


def enforce_limit(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """Raise if more rows are quarantined than the settings allow.

    Raises
    ------
    QuarantineError
        Names the table, the count, the limit and the remedy.
    """
    over = violations(counts(connection, settings.mask_personal), settings)
    if over:
        more = f" {len(over) - 3} more sources or tables are over the limit." if len(over) > 3 else ""
        raise QuarantineError(" ".join(over[:3]) + more + " ecom_raw.quarantine holds all of these rows.")
