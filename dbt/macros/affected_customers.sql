{#
    A query for the customers whose events, orders or reviews have changed, with duplicates: for incremental summaries
    per customer. All versions of a record are read, to find the customer that it belonged to before. An item without a
    known order belonged to the unknown customer.
#}
{% macro affected_customers() -%}
    with

    affected as (

        {{ affected_orders(ref('int_order_items')) }}

    ),

    reviews as (

        select
            customer_id,
            order_id
        from {{ ref('base_reviews') }}
        where _key in ({{ touched_keys('reviews') }}) or order_id in (select affected.order_id from affected)

    ),

    -- A review without a customer belongs to the customer of its order.
    orders as (

        select customer_id from {{ ref('base_orders') }}
        where
            order_id in (select affected.order_id from affected)
            or order_id in (select reviews.order_id from reviews)

    ),

    groups as (

        {{ changed_groups(['customer_key']) }}

    )

    select customer_key from groups

    union all

    select {{ surrogate_key(['customer_id']) }} as customer_key from orders

    union all

    select {{ surrogate_key(['customer_id']) }} as customer_key from reviews

    union all

    select {{ unknown_key() }} as customer_key
{%- endmacro %}
