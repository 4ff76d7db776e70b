-- The shares of the lines add up to the order's shipping, and to its discount beyond those of its items, to the cent.
-- Credit lines have no share in the shipping of an order that also sells.
with

orders as (

    select * from {{ ref('stg_orders') }}

),

items as (

    select
        *,
        {{ is_credit_line('items.quantity', line_amount('items')) }} as is_credit_line
    from {{ ref('stg_order_items') }} as items

),

lines as (

    select
        order_id,
        sum(shipping_amount) as shipping_amount,
        sum(shipping_amount) filter (where is_credit_line) as shipping_of_credit_lines,
        bool_and(is_credit_line) as only_takes_back,
        sum(discount_amount) as discount_amount
    from {{ ref('int_order_items') }}
    group by order_id

),

own_discounts as (

    select
        order_id,
        coalesce(sum(discount_amount), 0) as discount_amount,
        {{ discount_of_items('discount_amount', 'is_credit_line') }} as discount_of_items
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
    or (lines.shipping_of_credit_lines <> 0 and not lines.only_takes_back)
    or lines.discount_amount - coalesce(own_discounts.discount_amount, 0) <> case
        when orders.discount_amount > 0
            then greatest(orders.discount_amount - coalesce(own_discounts.discount_of_items, 0), 0)
        when orders.discount_amount < 0
            then least(orders.discount_amount - coalesce(own_discounts.discount_of_items, 0), 0)
        else 0
    end
