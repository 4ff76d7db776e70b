with

sessions as (

    select * from {{ ref('int_sessions') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

sums as (

    select
        sessions.month_key,
        coalesce(sessions.device_type, 'unknown') as device_type,
        customers.acquisition_channel,
        count(*) as sessions,
        count(*) filter (where sessions.has_viewed) as viewing_sessions,
        count(*) filter (where sessions.has_carted) as carting_sessions,
        count(*) filter (where sessions.has_bought) as buying_sessions
    from sessions
    inner join customers on sessions.customer_key = customers.customer_key
    group by sessions.month_key, coalesce(sessions.device_type, 'unknown'), customers.acquisition_channel

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
