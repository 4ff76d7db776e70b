{#
    The orders that new batches affect, for the increments of models of orders and their items: orders with a new
    version or a new item, and orders placed while a changed version of their customer or of one of their products was
    valid. A record is valid from its own time on. The first record of a key is also valid before it, because no other
    is.

    lines  relation with order_id, customer_id, product_id and ordered_at of the order lines
#}
{% macro affected_orders(lines) -%}
    {%- set renumbered = env_var('DUCKBOOK_ORDER_ITEMS_RENUMBERED', 'false') | lower in ['true', '1', 'yes', 'on'] -%}
    select order_id from {{ ref('base_orders') }}
    where _key in ({{ touched_keys('orders', undated=ref('base_orders')) }})

    union all

    select order_id from {{ ref('base_order_items') }}
    where _key in ({{ touched_keys('order_items', sighted=renumbered) }})
    {%- for table_name, id in [('customers', 'customer_id'), ('products', 'product_id')] %}

    union all

    select lines.order_id
    from {{ lines }} as lines
    inner join (
        with

        -- Materialized, so that batches are looked up only for the versions of these keys.
        versions as materialized (

            select
                {{ id }},
                _key,
                _row_hash,
                _batch_id,
                updated_at
            from {{ ref('base_' ~ table_name) }}
            where _rejection is null and _key in ({{ touched_keys(table_name, undated=ref('base_' ~ table_name)) }})

        ),

        appearances as (

            select {{ id }}, _batch_id, updated_at from versions

            union all

            select versions.{{ id }}, sightings._batch_id, versions.updated_at
            from {{ source('ecom_raw', 'sightings') }} as sightings
            inner join versions on sightings._key = versions._key and sightings._row_hash = versions._row_hash
            where
                sightings.table_name = '{{ table_name }}'
                and versions.updated_at is null
                and sightings._batch_id in ({{ new_batches(table_name) }})

        ),

        moments as (

            select
                appearances.{{ id }},
                coalesce(appearances.updated_at, cast(batches.batch_date as timestamp)) as moment,
                {{ is_new('batches.sequence') }} as is_new
            from appearances
            inner join {{ ref('stg_batches') }} as batches
                on appearances._batch_id = batches.batch_id and batches.table_name = '{{ table_name }}'

        )

        select
            {{ id }},
            min(moment) as first_moment,
            min(case when is_new then moment end) as changed_from
        from moments
        group by {{ id }}
    ) as changed
        on lines.{{ id }} = changed.{{ id }}
    where
        lines.ordered_at is null
        or changed.changed_from = changed.first_moment
        or lines.ordered_at >= changed.changed_from
    {%- endfor %}
{%- endmacro %}


{#
    For the orders: these, and those whose place has changed. The country of an address depends on the customers who
    live there, and may change with them.
#}
{% macro affected_or_readdressed_orders() -%}
    {{ affected_orders(ref('int_order_items')) }}

    union all

    select built.order_id
    from {{ this }} as built
    inner join {{ ref('int_addresses') }} as addresses on built.shipping_address_key = addresses.address_key
    where {{ is_placed('addresses') }} and addresses.location_key <> built.location_key
{%- endmacro %}


{# For the facts: these orders, and those whose place has changed because of them. #}
{% macro affected_or_moved_orders() -%}
    {{ affected_orders(ref('int_order_items')) }}

    union all

    select built.order_id
    from {{ this }} as built
    inner join {{ ref('int_orders') }} as orders on built.order_id = orders.order_id
    where built.location_key <> orders.location_key
{%- endmacro %}
