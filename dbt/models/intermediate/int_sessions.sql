{{ config(
    materialized='incremental', incremental_strategy='groups', unique_key=['session_id'],
    pre_hook="{{ write_down(changed_groups(['session_id'])) }}", post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_interactions') }}
with

interactions as (

    select * from {{ ref('int_interactions') }}
    where
        session_id is not null
        {%- if is_incremental() %}
        and session_id in (select keys.session_id from {{ written_down() }} as keys)
        {%- endif %}

),

-- A later step implies the earlier ones: a purchase from a saved cart counts as a product view too.
sums as (

    select
        ---------- ids
        session_id,
        min(case when is_session_start then customer_key end) as customer_key,
        min(case when is_session_start then month_key end) as month_key,

        ---------- text
        min(case when is_session_start then device_type end) as device_type,

        ---------- numerics
        count(*) as events,

        ---------- booleans
        bool_or(event_type in ('view', 'cart_add', 'purchase')) as has_viewed,
        bool_or(event_type in ('cart_add', 'purchase')) as has_carted,
        bool_or(event_type = 'purchase') as has_bought,

        ---------- the row itself
        max(_changed_in) as _changed_in

    from interactions
    group by session_id

)

select * from sums
