{#
    The history of each key as a slowly changing dimension of type 2 (Kimball), from all valid versions in raw. So a
    rebuild or a late batch gives the same result as daily runs, which a snapshot taken at run time would not.

    A version is valid from the source's own time of the record (updated_at), else from the start of the day of its
    batch, until the next one. The first is valid from 1900-01-01, so that there is a version at every moment, and the
    last until 9999-12-31. The span is half-open: valid_from <= moment < valid_to. Of several versions at one moment
    the last counts, by the place of its batch and then by its row. Rows that land again unchanged count too, so A, B,
    A are three versions.

    base        name of the CTE with all versions: _key, _row_hash, _batch_id, _row_number, updated_at and _rejection
    table_name  the source table
    key         its business key
    tracked     columns whose change makes a new version; other columns are not in the history
#}
{% macro history_of(base, table_name, key, tracked) -%}
    with

    -- Tracked columns are joined at the end, to keep them out of the windows.
    sound as (

        select
            _key,
            _row_hash,
            _batch_id,
            _row_number,
            updated_at,
            {{ surrogate_key(tracked) }} as _content
        from {{ base }}
        where _rejection is null

    ),

    -- One row per distinct content of a key, however often it landed.
    contents as (

        select *
        from sound
        qualify row_number() over (partition by _key, _row_hash order by _batch_id, _row_number) = 1

    ),

    {{ mixed_keys('contents') }},

    batches as (

        select
            batch_id,
            batch_date,
            place,
            is_overtaken
        from {{ ref('stg_batches') }}
        where table_name = '{{ table_name }}'

    ),

    appearances as (

        select
            _key,
            _row_hash,
            _batch_id,
            _row_number,
            updated_at
        from sound

        union all

        -- Content that cannot be cast is never a version.
        select
            sightings._key,
            sightings._row_hash,
            sightings._batch_id,
            sightings._row_number,
            contents.updated_at
        from {{ source('ecom_raw', 'sightings') }} as sightings
        inner join contents on sightings._key = contents._key and sightings._row_hash = contents._row_hash
        where
            sightings.table_name = '{{ table_name }}'
            -- In all other batches an unchanged row repeats the version before it, and changes nothing.
            and (
                sightings._batch_id in (select batches.batch_id from batches where batches.is_overtaken)
                or sightings._key in (select mixed._key from mixed)
            )

    ),

    last_of_moments as (

        select
            appearances._key,
            coalesce(appearances.updated_at, cast(batches.batch_date as timestamp)) as moment,
            max(struct_pack(
                place := batches.place, row_number := appearances._row_number, row_hash := appearances._row_hash
            )) as last_seen
        from appearances
        inner join batches on appearances._batch_id = batches.batch_id
        group by all

    ),

    moments as (

        select
            contents.*,
            last_of_moments.moment,
            lag(contents._content) over (
                partition by contents._key order by last_of_moments.moment
            ) as _content_before
        from last_of_moments
        inner join contents
            on last_of_moments._key = contents._key and last_of_moments.last_seen['row_hash'] = contents._row_hash

    ),

    changes as (

        select
            *,
            row_number() over (partition by _key order by moment) as version,
            lead(moment) over (partition by _key order by moment) as next_moment
        from moments
        where _content_before is distinct from _content

    )

    select
        {%- for column in [key] + tracked %}
        said.{{ column }},
        {%- endfor %}
        cast(changes.version as integer) as version,
        case when changes.version = 1 then timestamp '1900-01-01' else changes.moment end as valid_from,
        coalesce(changes.next_moment, timestamp '9999-12-31') as valid_to,
        changes.next_moment is null as is_current
    from changes
    inner join {{ base }} as said
        on changes._batch_id = said._batch_id and changes._row_number = said._row_number
{%- endmacro %}


{#
    The join condition of a point-in-time join, in addition to the equality of the keys: whether a version was valid at
    a time. An unknown time is matched with the current version.
#}
{% macro valid_at(versions, timestamp) -%}
    coalesce({{ timestamp }}, timestamp '9999-12-30') >= {{ versions }}.valid_from
    and coalesce({{ timestamp }}, timestamp '9999-12-30') < {{ versions }}.valid_to
{%- endmacro %}
