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

buying as (

    select session_id from {{ ref('int_sessions') }}
    where has_bought

),

sums as (

    select
        ---------- ids
        interactions.customer_key,
        interactions.month_key,

        ---------- numerics
        count(*) as events,
        count(*) filter (where interactions.event_type = 'view') as views,
        count(*) filter (where interactions.event_type = 'cart_add') as cart_adds,
        count(*) filter (where interactions.event_type = 'cart_remove') as cart_removes,
        count(*) filter (where interactions.event_type = 'wishlist_add') as wishlist_adds,
        count(*) filter (where interactions.event_type = 'search') as searches,
        count(*) filter (where interactions.event_type = 'purchase') as purchases,
        count(*) filter (where interactions.is_session_start) as sessions,
        count(*) filter (where interactions.is_session_start and buying.session_id is not null) as buying_sessions

    from interactions
    left join buying on interactions.session_id = buying.session_id
    group by interactions.customer_key, interactions.month_key

)

select * from sums
