-- Nothing is lost or counted twice: each raw row is staged, superseded or quarantined, and each row that the base
-- models or ingestion rejected is in the quarantine.
{% set table_names = [
    'customers', 'products', 'orders', 'reviews', 'categories', 'subcategories', 'order_items', 'interactions'
] -%}

with

rejected as (
    {% for table_name in table_names %}
    select
        '{{ table_name }}' as table_name,
        (select count(*) from {{ ref('base_' ~ table_name) }} where _state = 'quarantined')
        + (select count(*) from {{ source('ecom_raw', 'unreadable') }} where table_name = '{{ table_name }}') as expected
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

quarantined as (

    select
        table_name,
        count(*) as found
    from {{ ref('quarantine') }}
    group by table_name

)

select
    table_name,
    raw as expected,
    staged + superseded + quarantined as found
from {{ ref('row_accounts') }}
where raw <> staged + superseded + quarantined

union all

select
    rejected.table_name,
    rejected.expected,
    coalesce(quarantined.found, 0) as found
from rejected
left join quarantined on rejected.table_name = quarantined.table_name
where rejected.expected <> coalesce(quarantined.found, 0)
