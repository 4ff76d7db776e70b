{#
    What has come since an incremental model was built.

    A sighting touches nothing, because its content is, by definition, that of the version which precedes it in source
    order: neither which version is the newest nor when one began depends on it. But where some versions of a key have a
    time of their own and others have none, one without takes it from the day on which it was last seen: sightings of
    such count.
#}

{#
    A query for the batches, of a source table or of all, that have come since this model was built: for increments
    alone.
#}
{% macro new_batches(table_name=none) -%}
    {{ batches_after(built_until(), table_name) }}
{%- endmacro %}


{% macro batches_after(sequence, table_name=none) -%}
    select batch_id from {{ ref('stg_batches') }}
    where sequence > {{ sequence }}{{ " and table_name = '" ~ table_name ~ "'" if table_name }}
{%- endmacro %}


{#
    A query for the business keys that new batches bring a row of.

    sighted  whether those count as well that they bring a sighting of
    undated  the typed rows that tell which of these sightings count: those of a version without a time of its own, where
             another version of the key has one
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
    The rows of a source table to be typed: all of them, or, in an increment, the new ones and whatever else there is of
    their keys, because which version of a key is staged is settled among all of them. The model has written down the
    keys that are touched.

    repeated  name of the CTE with `repeated_keys`: adds `_is_rival`, whether there may be other rows of the key, for
              large tables whose keys mostly have one row, so that only the others are looked at twice
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


{# A query for the keys of a source table that several rows may have, told by a hash of them, which is short to keep. #}
{% macro repeated_keys(table_name) -%}
    select hash(_key) as key_hash from {{ source('ecom_raw', table_name) }}
    {{ 'where false' if is_incremental() }}
    group by hash(_key)
    having count(*) > 1
{%- endmacro %}


{# Whether a sequence is of a batch that has come since this model was built: for increments alone. #}
{% macro is_new(sequence) -%}
    {{ sequence }} > {{ built_until() }}
{%- endmacro %}
