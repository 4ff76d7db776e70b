{{ config(
    materialized='incremental', incremental_strategy='groups', unique_key=['product_key', 'month_key'],
    on_schema_change='fail', pre_hook="{{ write_down(changed_groups(['product_key', 'month_key'])) }}",
    post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_interactions') }}
with

interactions as (

    select * from {{ ref('int_interactions') }}
    {%- if is_incremental() %}
    where
        (product_key, month_key) in (
            select
                keys.product_key,
                keys.month_key
            from {{ written_down() }} as keys
        )
    {%- endif %}

),

sums as (

    select
        product_key,
        month_key,
        count(distinct customer_key) filter (where customer_key <> {{ unknown_key() }}) as customers,
        count(*) as events,
        count(*) filter (where event_type = 'view') as views,
        count(*) filter (where event_type = 'cart_add') as cart_adds,
        count(*) filter (where event_type = 'cart_remove') as cart_removes,
        count(*) filter (where event_type = 'wishlist_add') as wishlist_adds,
        count(*) filter (where event_type = 'search') as searches,
        count(*) filter (where event_type = 'purchase') as purchases
    from interactions
    group by product_key, month_key

),

described as (

    select
        product_key,
        month_key,
        {{ month_start('month_key') }} as month_start,
        customers,
        events,
        views,
        cart_adds,
        cart_removes,
        wishlist_adds,
        searches,
        purchases,
        {{ ratio('cart_adds', 'views', 4) }} as cart_rate,
        {{ ratio('purchases', 'views', 4) }} as purchase_rate
    from sums

)

select * from described
