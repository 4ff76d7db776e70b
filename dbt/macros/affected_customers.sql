{#
    A query for the customers of whose events, orders or reviews something has changed, each as often as it is found: for
    the increment of what is summed by customer. Where something stood before is told by all the versions that there are
    of it; an item whose order is not known stood with the unknown customer.
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

    -- A review that names no customer is by the one who placed the order.
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
