with

orders as (

    select * from {{ ref('fct_customer_orders') }}

),

dates as (

    select * from {{ ref('dim_dates') }}

),

sums as (

    select
        date_key,
        count(distinct customer_key) filter (where customer_key <> {{ unknown_key() }}) as customers,
        sum(orders) as orders,
        sum(cancelled_orders) as cancelled_orders,
        sum(order_lines) as order_lines,
        sum(units) as units,
        sum(returned_units) as returned_units,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(net_amount) as net_amount,
        sum(shipping_amount) as shipping_amount,
        sum(cancelled_amount) as cancelled_amount,
        sum(refund_amount) as refund_amount,
        sum(revenue) as revenue
    from orders
    group by date_key

),

-- Include days without an order, with zeros, so that charts have no gaps.
joined as (

    select
        dates.date_key,
        dates.date_day,
        dates.is_holiday,
        dates.is_weekend,
        coalesce(sums.customers, 0) as customers,
        cast(coalesce(sums.orders, 0) as bigint) as orders,
        cast(coalesce(sums.cancelled_orders, 0) as bigint) as cancelled_orders,
        cast(coalesce(sums.order_lines, 0) as bigint) as order_lines,
        cast(coalesce(sums.units, 0) as bigint) as units,
        cast(coalesce(sums.returned_units, 0) as bigint) as returned_units,
        cast(coalesce(sums.gross_amount, 0) as decimal(18, 2)) as gross_amount,
        cast(coalesce(sums.discount_amount, 0) as decimal(18, 2)) as discount_amount,
        cast(coalesce(sums.net_amount, 0) as decimal(18, 2)) as net_amount,
        cast(coalesce(sums.shipping_amount, 0) as decimal(18, 2)) as shipping_amount,
        cast(coalesce(sums.cancelled_amount, 0) as decimal(18, 2)) as cancelled_amount,
        cast(coalesce(sums.refund_amount, 0) as decimal(18, 2)) as refund_amount,
        cast(coalesce(sums.revenue, 0) as decimal(18, 2)) as revenue,
        {{ ratio(
            'sums.net_amount - sums.cancelled_amount', 'sums.orders - sums.cancelled_orders'
        ) }} as average_order_value
    from dates
    left join sums on dates.date_key = sums.date_key

)

select * from joined
