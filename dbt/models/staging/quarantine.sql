{#- Rows are only added: a row that cannot be cast never can, whatever lands later. #}
{{ config(
    materialized='incremental', incremental_strategy='append', schema='ecom_raw', post_hook='{{ keep_built_of() }}'
) }}

{%- set table_names = [
    'customers', 'products', 'orders', 'reviews', 'categories', 'subcategories', 'order_items', 'interactions'
] -%}

with

unreadable as (

    select
        table_name,
        batch_id,
        source,
        row_number,
        reason,
        original
    from {{ source('ecom_raw', 'unreadable') }}
    {%- if is_incremental() %}
    where batch_id in ({{ new_batches() }})
    {%- endif %}

),
{% for table_name in table_names %}
rejected_{{ table_name }} as (

    select
        _batch_id,
        _row_number,
        _rejection
    from {{ ref('base_' ~ table_name) }}
    where
        _state = 'quarantined'
        {%- if is_incremental() %}
        and _batch_id in ({{ new_batches(table_name) }})
        {%- endif %}

),

original_{{ table_name }} as (

    select raw_rows.*
    from {{ source('ecom_raw', table_name) }} as raw_rows
    inner join rejected_{{ table_name }}
        on
            raw_rows._batch_id = rejected_{{ table_name }}._batch_id
            and raw_rows._row_number = rejected_{{ table_name }}._row_number
    {%- if is_incremental() %}
    where raw_rows._batch_id in ({{ new_batches(table_name) }})
    {%- endif %}

),

quarantined_{{ table_name }} as (

    select
        '{{ table_name }}' as table_name,
        original_{{ table_name }}._batch_id as batch_id,
        original_{{ table_name }}._source as source,
        original_{{ table_name }}._row_number as row_number,
        rejected_{{ table_name }}._rejection as reason,
        -- The row as it landed, without the columns that ingestion added.
        cast(json_merge_patch(
            to_json(original_{{ table_name }}),
            '{"_key": null, "_batch_id": null, "_row_number": null, "_row_hash": null, '
            || '"_source": null, "_loaded_at": null}'
        ) as varchar) as original
    from original_{{ table_name }}
    inner join rejected_{{ table_name }}
        on
            original_{{ table_name }}._batch_id = rejected_{{ table_name }}._batch_id
            and original_{{ table_name }}._row_number = rejected_{{ table_name }}._row_number

),
{% endfor %}
unioned as (

    select * from unreadable
    {% for table_name in table_names %}
    union all

    select * from quarantined_{{ table_name }}
    {% endfor %}
)

select * from unioned
