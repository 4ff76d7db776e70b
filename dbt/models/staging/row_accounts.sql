{{ config(materialized='table') }}

{%- set table_names = [
    'customers', 'products', 'orders', 'reviews', 'categories', 'subcategories', 'order_items', 'interactions'
] %}

with

quarantined as (

    select
        table_name,
        batch_id,
        row_number
    from {{ ref('quarantine') }}

),
{% for table_name in table_names %}
-- Counted from raw and the quarantine alone: of the versions of a key that can be cast, all but one are superseded.
accounts_of_{{ table_name }} as (

    select
        '{{ table_name }}' as table_name,
        count(*) as raw,
        count(*) filter (where quarantined.batch_id is not null) as quarantined,
        count(*) filter (where quarantined.batch_id is null)
        - count(distinct rows_landed._key) filter (where quarantined.batch_id is null) as superseded
    from {{ source('ecom_raw', table_name) }} as rows_landed
    left join quarantined
        on
            quarantined.table_name = '{{ table_name }}'
            and rows_landed._batch_id = quarantined.batch_id
            and rows_landed._row_number = quarantined.row_number

),

staged_{{ table_name }} as (

    select count(*) as staged
    from {{ ref('stg_' ~ table_name) }}

),
{% endfor %}
unioned as (
    {% for table_name in table_names %}
    select
        accounts.table_name,
        accounts.raw,
        staged.staged,
        accounts.superseded,
        accounts.quarantined
    from accounts_of_{{ table_name }} as accounts
    cross join staged_{{ table_name }} as staged
    {% if not loop.last %}
    union all
    {% endif %}
    {%- endfor %}
)

select * from unioned
