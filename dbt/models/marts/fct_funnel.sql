with

interactions as (

    select * from {{ ref('int_interactions') }}
    where session_id is not null

),

customers as (

    select * from {{ ref('dim_customers') }}

),

-- A session that did a later step counts for those before it: a purchase from a saved cart was a visit of products too.
reached as (

    select
        session_id,
        bool_or(event_type in ('view', 'cart_add', 'purchase')) as has_viewed,
        bool_or(event_type in ('cart_add', 'purchase')) as has_carted,
        bool_or(event_type = 'purchase') as has_bought
    from interactions
    group by session_id

),

starts as (

    select
        session_id,
        customer_key,
        {{ month_key('occurred_at') }} as month_key,
        coalesce(device_type, 'unknown') as device_type
    from interactions
    where is_session_start

),

sums as (

    select
        starts.month_key,
        starts.device_type,
        customers.acquisition_channel,
        count(*) as sessions,
        count(*) filter (where reached.has_viewed) as viewing_sessions,
        count(*) filter (where reached.has_carted) as carting_sessions,
        count(*) filter (where reached.has_bought) as buying_sessions
    from starts
    inner join reached on starts.session_id = reached.session_id
    inner join customers on starts.customer_key = customers.customer_key
    group by starts.month_key, starts.device_type, customers.acquisition_channel

),

described as (

    select
        month_key,
        device_type,
        acquisition_channel,
        {{ month_start('month_key') }} as month_start,
        sessions,
        viewing_sessions,
        carting_sessions,
        buying_sessions,
        {{ ratio('carting_sessions', 'viewing_sessions', 4) }} as view_to_cart_rate,
        {{ ratio('buying_sessions', 'carting_sessions', 4) }} as cart_to_purchase_rate,
        {{ ratio('buying_sessions', 'sessions', 4) }} as conversion_rate
    from sums

)

select * from described
