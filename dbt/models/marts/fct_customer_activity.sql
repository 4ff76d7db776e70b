{{ config(
    materialized='incremental', incremental_strategy='groups', unique_key=['customer_key'],
    on_schema_change='fail', pre_hook='{{ write_down(affected_customers()) }}', post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_orders') }}, {{ ref('base_order_items') }}, {{ ref('stg_batches') }}
-- depends_on: {{ ref('base_customers') }}, {{ ref('base_products') }}, {{ ref('base_reviews') }}
-- depends_on: {{ ref('base_interactions') }}, {{ ref('int_interactions') }}
-- depends_on: {{ ref('int_order_items') }}, {{ ref('int_customers') }}
with

events as (

    select * from {{ ref('int_customer_events') }}
    {%- if is_incremental() %}
    where customer_key in (select affected.customer_key from {{ written_down() }} as affected)
    {%- endif %}

),

orders as (

    select * from {{ ref('int_orders') }}
    {%- if is_incremental() %}
    where customer_key in (select affected.customer_key from {{ written_down() }} as affected)
    {%- endif %}

),

reviews as (

    select * from {{ ref('int_reviews') }}
    {%- if is_incremental() %}
    where customer_key in (select affected.customer_key from {{ written_down() }} as affected)
    {%- endif %}

),

-- Aggregate each kind of activity to the grain before joining: joins of detail rows would multiply them.
summed as (

    select
        customer_key,
        month_key,
        events,
        views,
        cart_adds,
        cart_removes,
        wishlist_adds,
        searches,
        purchases,
        sessions,
        buying_sessions,
        0 as orders,
        0 as cancelled_orders,
        0 as units,
        0 as revenue,
        0 as reviews
    from events

    union all

    select
        customer_key,
        {{ month_key('ordered_at') }} as month_key,
        0 as events,
        0 as views,
        0 as cart_adds,
        0 as cart_removes,
        0 as wishlist_adds,
        0 as searches,
        0 as purchases,
        0 as sessions,
        0 as buying_sessions,
        count(*) as orders,
        count(*) filter (where is_cancelled) as cancelled_orders,
        sum(units) as units,
        sum(revenue) as revenue,
        0 as reviews
    from orders
    group by customer_key, {{ month_key('ordered_at') }}

    union all

    select
        customer_key,
        {{ month_key('reviewed_at') }} as month_key,
        0 as events,
        0 as views,
        0 as cart_adds,
        0 as cart_removes,
        0 as wishlist_adds,
        0 as searches,
        0 as purchases,
        0 as sessions,
        0 as buying_sessions,
        0 as orders,
        0 as cancelled_orders,
        0 as units,
        0 as revenue,
        count(*) as reviews
    from reviews
    group by customer_key, {{ month_key('reviewed_at') }}

),

activity as (

    select
        customer_key,
        month_key,
        {{ month_start('month_key') }} as month_start,
        cast(sum(events) as bigint) as events,
        cast(sum(views) as bigint) as views,
        cast(sum(cart_adds) as bigint) as cart_adds,
        cast(sum(cart_removes) as bigint) as cart_removes,
        cast(sum(wishlist_adds) as bigint) as wishlist_adds,
        cast(sum(searches) as bigint) as searches,
        cast(sum(purchases) as bigint) as purchases,
        cast(sum(sessions) as bigint) as sessions,
        cast(sum(buying_sessions) as bigint) as buying_sessions,
        cast(sum(orders) as bigint) as orders,
        cast(sum(cancelled_orders) as bigint) as cancelled_orders,
        cast(sum(units) as bigint) as units,
        cast(sum(revenue) as decimal(18, 2)) as revenue,
        cast(sum(reviews) as bigint) as reviews
    from summed
    group by customer_key, month_key

)

select * from activity
