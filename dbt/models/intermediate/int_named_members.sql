{#- Rows are only added: a member that was named once stays. #}
{{ config(
    materialized='incremental', incremental_strategy='append', post_hook='{{ keep_built_of() }}'
) }}

{%- set named_by = {
    'customers': ['orders', 'reviews', 'interactions'], 'products': ['order_items', 'reviews', 'interactions']
} %}

with
{% for table_name, others in named_by.items() %}
{%- set member_id = table_name[:-1] ~ '_id' %}
{%- for other in others %}
{{ table_name }}_of_{{ other }} as (

    select
        '{{ table_name }}' as table_name,
        records.{{ member_id }} as member_id,
        min(batches.sequence) as named_in
    from {{ ref('base_' ~ other) }} as records
    inner join {{ ref('stg_batches') }} as batches
        on records._batch_id = batches.batch_id and batches.table_name = '{{ other }}'
    where
        records._rejection is null
        and records.{{ member_id }} is not null
        {%- if is_incremental() %}
        and records._batch_id in ({{ new_batches(other) }})
        {%- endif %}
    group by records.{{ member_id }}

),
{% endfor %}
{%- endfor %}
named as (
    {% for table_name, others in named_by.items() %}
    {%- set is_last = loop.last %}
    {%- for other in others %}
    select * from {{ table_name }}_of_{{ other }}
    {% if not (loop.last and is_last) %}
    union all
    {% endif %}
    {%- endfor %}
    {%- endfor %}
),

members as (

    select
        table_name,
        member_id,
        min(named_in) as named_in
    from named
    group by table_name, member_id

),

added as (

    select * from members
    {%- if is_incremental() %}
    where
        (table_name, member_id) not in (
            select
                known.table_name,
                known.member_id
            from {{ this }} as known
        )
    {%- endif %}

)

select * from added
