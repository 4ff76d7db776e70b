{#
    What has landed since an incremental model was built.

    A row that landed again unchanged (`sightings`) affects nothing, because it repeats the version that precedes it in
    source order: neither the newest version nor the start of one depends on it. The exception is a key of which some
    versions have a time of their own and others do not: a version without one takes the day on which it last landed.
#}

{# A query for the batches of a source table, or of all, since this model was built. Only for increments. #}
{% macro new_batches(table_name=none) -%}
    {{ batches_after(built_until(), table_name) }}
{%- endmacro %}


{% macro batches_after(sequence, table_name=none) -%}
    select batch_id from {{ ref('stg_batches') }}
    where sequence > {{ sequence }}{{ " and table_name = '" ~ table_name ~ "'" if table_name }}
{%- endmacro %}


{#
    A query for the business keys of the rows in new batches.

    sighted  whether to include the keys of rows that landed again unchanged
    undated  the typed rows that limit these: only rows of a version without a time of its own count, and only if another
             version of the key has one
#}
{% macro touched_keys(table_name, sighted=false, undated=none, batches=none) -%}
    {%- set batches = batches or new_batches(table_name) -%}
    select _key from {{ source('ecom_raw', table_name) }}
    where _batch_id in ({{ batches }})
    {%- if sighted or undated %}
    union all
    select sightings._key
    from {{ source('ecom_raw', 'sightings') }} as sightings
    {%- if undated %}
    inner join {{ undated }} as versions
        on sightings._key = versions._key and sightings._row_hash = versions._row_hash and versions.updated_at is null
    {%- endif %}
    where
        sightings.table_name = '{{ table_name }}' and sightings._batch_id in ({{ batches }})
        {%- if undated %}
        and sightings._key in (select dated._key from {{ undated }} as dated where dated.updated_at is not null)
        {%- endif %}
    {%- endif %}
{%- endmacro %}


{#
    The rows of a source table to cast: all of them or, in an increment, the new ones and all others of their keys,
    because the staged version of a key is chosen among all. The model has written the touched keys to a temporary
    table.

    repeated  name of the CTE with `repeated_keys`: adds `_is_rival`, whether the key may have other rows. For large tables
              most of whose keys have one row, so that only the others are ranked
#}
{% macro rows_of(table_name, repeated=none) -%}
    {%- set rows = source('ecom_raw', table_name) -%}
    {%- if is_incremental() %}
    select *{{ ', true as _is_rival' if repeated }} from {{ rows }}
    where _key in (select touched._key from {{ written_down() }} as touched)

    union all

    select *{{ ', true as _is_rival' if repeated }} from {{ rows }}
    where _key is null and _batch_id in ({{ new_batches(table_name) }})
    {%- elif repeated %}
    select
        *,
        hash(_key) in (select {{ repeated }}.key_hash from {{ repeated }}) as _is_rival
    from {{ rows }}
    {%- else %}
    select * from {{ rows }}
    {%- endif %}
{%- endmacro %}


{# A query for the keys of a source table that may have several rows, as hashes, which take less memory. #}
{% macro repeated_keys(table_name) -%}
    select hash(_key) as key_hash from {{ source('ecom_raw', table_name) }}
    {{ 'where false' if is_incremental() }}
    group by hash(_key)
    having count(*) > 1
{%- endmacro %}


{# Whether a sequence is of a batch that has landed since this model was built. Only for increments. #}
{% macro is_new(sequence) -%}
    {{ sequence }} > {{ built_until() }}
{%- endmacro %}
