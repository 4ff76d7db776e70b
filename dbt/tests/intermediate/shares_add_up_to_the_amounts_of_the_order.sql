-- Shared out over the lines of an order, its shipping comes back to the cent; its discount too, or that of its items
-- where these take off more.
with

orders as (

    select * from {{ ref('stg_orders') }}

),

items as (

    select * from {{ ref('stg_order_items') }}

),

lines as (

    select
        order_id,
        sum(shipping_amount) as shipping_amount,
        sum(discount_amount) as discount_amount
    from {{ ref('int_order_items') }}
    group by order_id

),

own_discounts as (

    select
        order_id,
        sum(discount_amount) as discount_amount
    from items
    group by order_id

)

select
    orders.order_id,
    lines.shipping_amount,
    lines.discount_amount
from orders
left join lines on orders.order_id = lines.order_id
left join own_discounts on orders.order_id = own_discounts.order_id
where
    lines.shipping_amount is distinct from coalesce(orders.shipping_cost, 0)
    or lines.discount_amount <> case
        when orders.discount_amount > 0 then greatest(orders.discount_amount, coalesce(own_discounts.discount_amount, 0))
        when orders.discount_amount < 0 then least(orders.discount_amount, coalesce(own_discounts.discount_amount, 0))
        else coalesce(own_discounts.discount_amount, 0)
    end
