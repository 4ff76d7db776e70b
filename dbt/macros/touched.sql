{#
    What has come since an incremental model was built.

    A sighting touches nothing, because its content is, by definition, that of the version which precedes it in source
    order: neither which version is the newest nor when one began depends on it. Orders alone are told apart by a time
    that a version without one takes from the day on which it was last seen, so there sightings count.
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
    A query for the business keys that new batches bring a row of; `sighted` says whether those that they bring a
    sighting of count as well.
#}
{% macro touched_keys(table_name, sighted=false, batches=none) -%}
    {%- set batches = batches or new_batches(table_name) -%}
    select _key from {{ source('ecom_raw', table_name) }}
    where _batch_id in ({{ batches }})
    {%- if sighted %}
    union all
    select _key from {{ source('ecom_raw', 'sightings') }}
    where table_name = '{{ table_name }}' and _batch_id in ({{ batches }})
    {%- endif %}
{%- endmacro %}


{#
    The rows of a source table to be typed: all of them, or, in an increment, the new ones and whatever else there is of
    their keys, because which version of a key is staged is settled among all of them.
#}
{% macro rows_of(table_name, sighted=false) -%}
    select * from {{ source('ecom_raw', table_name) }}
    {%- if is_incremental() %}
    {%- set batches = new_batches(table_name) %}
    where _batch_id in ({{ batches }}) or _key in ({{ touched_keys(table_name, sighted, batches) }})
    {%- endif %}
{%- endmacro %}


{# Whether a sequence is of a batch that has come since this model was built: for increments alone. #}
{% macro is_new(sequence) -%}
    {{ sequence }} > {{ built_until() }}
{%- endmacro %}
