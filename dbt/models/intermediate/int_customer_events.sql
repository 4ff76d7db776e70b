{{ config(
    materialized='incremental', incremental_strategy='groups', unique_key=['customer_key', 'month_key'],
    pre_hook="{{ write_down(changed_groups(['customer_key', 'month_key'])) }}", post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_interactions') }}
with

interactions as (

    select * from {{ ref('int_interactions') }}
    {%- if is_incremental() %}
    where
        (customer_key, month_key) in (
            select
                keys.customer_key,
                keys.month_key
            from {{ written_down() }} as keys
        )
    {%- endif %}

),

sums as (

    select
        ---------- ids
        customer_key,
        month_key,

        ---------- numerics
        count(*) as events,
        count(*) filter (where event_type = 'view') as views,
        count(*) filter (where event_type = 'cart_add') as cart_adds,
        count(*) filter (where event_type = 'cart_remove') as cart_removes,
        count(*) filter (where event_type = 'wishlist_add') as wishlist_adds,
        count(*) filter (where event_type = 'search') as searches,
        count(*) filter (where event_type = 'purchase') as purchases,
        count(*) filter (where is_session_start) as sessions

    from interactions
    group by customer_key, month_key

)

select * from sums
