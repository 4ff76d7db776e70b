with

customers as (

    select
        *,
        orders - cancelled_orders > 0 and not is_unknown as is_buyer
    from {{ ref('dim_customers') }}

),

-- Fifths by rank, in whole numbers; customers who tie have the same score, whatever their order.
ranked as (

    select
        customer_key,
        count(*) over () as buyers,
        rank() over (order by days_since_last_order desc nulls first) as recency_rank,
        rank() over (order by orders - cancelled_orders) as frequency_rank,
        rank() over (order by revenue) as monetary_rank
    from customers
    where is_buyer

),

scored as (

    select
        customer_key,
        cast(1 + (recency_rank - 1) * 5 // buyers as integer) as recency_score,
        cast(1 + (frequency_rank - 1) * 5 // buyers as integer) as frequency_score,
        cast(1 + (monetary_rank - 1) * 5 // buyers as integer) as monetary_score
    from ranked

),

described as (

    select
        ---------- ids
        customers.customer_key,

        ---------- text
        case
            when customers.is_unknown then 'unknown'
            when not customers.is_buyer then 'prospect'
            when scored.recency_score >= 4 and scored.frequency_score >= 4 then 'champion'
            when scored.recency_score >= 4 and scored.frequency_score >= 2 then 'promising'
            when scored.recency_score >= 4 then 'new'
            when scored.recency_score = 3 and scored.frequency_score >= 4 then 'loyal'
            when scored.recency_score = 3 then 'needs attention'
            when scored.frequency_score >= 4 then 'at risk'
            when scored.frequency_score >= 2 then 'hibernating'
            else 'lost'
        end as segment,

        ---------- numerics
        scored.recency_score,
        scored.frequency_score,
        scored.monetary_score,
        customers.days_since_last_order,
        customers.orders,
        customers.cancelled_orders,
        customers.revenue,
        customers.average_order_value

    from customers
    left join scored on customers.customer_key = scored.customer_key

)

select * from described
