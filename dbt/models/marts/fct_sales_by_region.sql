with

orders as (

    select * from {{ ref('fct_customer_orders') }}

),

locations as (

    select * from {{ ref('dim_locations') }}

),

placed as (

    select
        locations.country,
        locations.region,
        locations.state,
        {{ month_key('orders.ordered_at') }} as month_key,
        orders.customer_key,
        orders.orders,
        orders.cancelled_orders,
        orders.order_lines,
        orders.units,
        orders.returned_units,
        orders.gross_amount,
        orders.discount_amount,
        orders.net_amount,
        orders.shipping_amount,
        orders.cancelled_amount,
        orders.refund_amount,
        orders.revenue
    from orders
    inner join locations on orders.location_key = locations.location_key

),

sums as (

    select
        country,
        state,
        month_key,
        min(region) as region,
        {{ month_start('month_key') }} as month_start,
        count(distinct customer_key) filter (where customer_key <> {{ unknown_key() }}) as customers,
        cast(sum(orders) as bigint) as orders,
        cast(sum(cancelled_orders) as bigint) as cancelled_orders,
        cast(sum(order_lines) as bigint) as order_lines,
        cast(sum(units) as bigint) as units,
        cast(sum(returned_units) as bigint) as returned_units,
        cast(sum(gross_amount) as decimal(18, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(18, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(18, 2)) as net_amount,
        cast(sum(shipping_amount) as decimal(18, 2)) as shipping_amount,
        cast(sum(cancelled_amount) as decimal(18, 2)) as cancelled_amount,
        cast(sum(refund_amount) as decimal(18, 2)) as refund_amount,
        cast(sum(revenue) as decimal(18, 2)) as revenue,
        {{ ratio(
            'sum(net_amount) - sum(cancelled_amount)', 'sum(orders) - sum(cancelled_orders)'
        ) }} as average_order_value
    from placed
    group by country, state, month_key

)

select * from sums
