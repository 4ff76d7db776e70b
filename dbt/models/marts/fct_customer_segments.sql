with

customers as (

    select
        *,
        orders > cancelled_orders and not is_unknown as is_buyer,
        date_diff('day', cast(first_order_at as date), {{ as_of() }}) as days_since_first_order
    from {{ ref('dim_customers') }}

),

-- Thirds by rank, in integers; ties have the same score.
ranked as (

    select
        customer_key,
        cast(1 + (rank() over (order by revenue) - 1) * 3 // count(*) over () as integer) as monetary_score
    from customers
    where is_buyer

),

described as (

    select
        ---------- ids
        customers.customer_key,

        ---------- text
        {{ segment() }} as segment,

        ---------- numerics
        {{ recency_score('customers.customer_status') }} as recency_score,
        case
            when customers.is_buyer then cast(least(customers.orders - customers.cancelled_orders, 3) as integer)
        end as frequency_score,
        ranked.monetary_score,
        customers.days_since_last_order,
        customers.orders,
        customers.cancelled_orders,
        customers.revenue,
        customers.average_order_value

    from customers
    left join ranked on customers.customer_key = ranked.customer_key

)

select * from described
