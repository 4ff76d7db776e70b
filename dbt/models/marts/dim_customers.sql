with

customers as (

    select * from {{ ref('int_customers') }}

),

orders as (

    select * from {{ ref('int_orders') }}

),

members as (

    select
        customer_key,
        customer_id,
        location_key,
        email,
        first_name,
        last_name,
        full_name,
        gender,
        age,
        coalesce(age_group, 'unknown') as age_group,
        annual_income,
        coalesce(education, 'unknown') as education,
        coalesce(marital_status, 'unknown') as marital_status,
        coalesce(location_type, 'unknown') as location_type,
        coalesce(preferred_channel, 'unknown') as preferred_channel,
        coalesce(acquisition_channel, 'unknown') as acquisition_channel,
        is_active,
        is_inferred,
        false as is_unknown,
        signed_up_at,
        last_login_at
    from customers

    union all

    select
        {{ unknown_key() }} as customer_key,
        null as customer_id,
        {{ unknown_key() }} as location_key,
        null as email,
        null as first_name,
        null as last_name,
        'unknown' as full_name,
        null as gender,
        null as age,
        'unknown' as age_group,
        null as annual_income,
        'unknown' as education,
        'unknown' as marital_status,
        'unknown' as location_type,
        'unknown' as preferred_channel,
        'unknown' as acquisition_channel,
        null as is_active,
        false as is_inferred,
        true as is_unknown,
        null as signed_up_at,
        null as last_login_at

),

lifetimes as (

    select
        customer_key,
        count(*) as orders,
        count(*) filter (where is_cancelled) as cancelled_orders,
        min(ordered_at) as first_order_at,
        max(ordered_at) as last_order_at,
        sum(net_amount) as net_amount,
        sum(cancelled_amount) as cancelled_amount,
        sum(refund_amount) as refund_amount,
        sum(revenue) as revenue
    from orders
    group by customer_key

),

joined as (

    select
        members.*,
        coalesce(lifetimes.orders, 0) as orders,
        coalesce(lifetimes.cancelled_orders, 0) as cancelled_orders,
        cast(coalesce(lifetimes.net_amount, 0) as decimal(18, 2)) as net_amount,
        cast(coalesce(lifetimes.cancelled_amount, 0) as decimal(18, 2)) as cancelled_amount,
        cast(coalesce(lifetimes.refund_amount, 0) as decimal(18, 2)) as refund_amount,
        cast(coalesce(lifetimes.revenue, 0) as decimal(18, 2)) as revenue,
        lifetimes.first_order_at,
        lifetimes.last_order_at,
        date_diff('day', cast(lifetimes.last_order_at as date), {{ as_of() }}) as days_since_last_order
    from members
    left join lifetimes on members.customer_key = lifetimes.customer_key

),

described as (

    select
        ---------- ids
        customer_key,
        customer_id,
        location_key,

        ---------- text
        email,
        first_name,
        last_name,
        full_name,
        gender,
        age_group,
        education,
        marital_status,
        location_type,
        preferred_channel,
        acquisition_channel,
        {{ customer_status() }} as customer_status,

        ---------- numerics
        age,
        annual_income,
        orders,
        cancelled_orders,
        net_amount,
        cancelled_amount,
        refund_amount,
        revenue,
        {{ ratio('net_amount - cancelled_amount', 'orders - cancelled_orders') }} as average_order_value,
        days_since_last_order,
        case
            when not is_unknown
                then date_diff('day', cast(coalesce(signed_up_at, first_order_at) as date), {{ as_of() }})
        end as lifetime_days,

        ---------- booleans
        is_active,
        not is_unknown and orders - cancelled_orders > 1 as is_repeat_customer,
        is_inferred,
        is_unknown,

        ---------- timestamps
        signed_up_at,
        last_login_at,
        first_order_at,
        last_order_at

    from joined

)

select * from described
