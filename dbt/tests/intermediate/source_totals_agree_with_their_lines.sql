{{ config(severity='warn') }}

-- Reported, never altered: orders whose own total differs from their items, discount and shipping.
select
    order_id,
    source_total_amount,
    net_amount,
    shipping_amount,
    source_difference
from {{ ref('int_orders') }}
where source_difference <> 0
