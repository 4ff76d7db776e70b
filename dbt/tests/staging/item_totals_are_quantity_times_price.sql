{{ config(severity='warn') }}

-- Reported, never altered: items whose own total is not quantity times unit price. Revenue uses the total.
select
    order_id,
    order_item_id,
    quantity,
    unit_price,
    total_price
from {{ ref('stg_order_items') }}
where total_price <> cast({{ times('quantity', 'unit_price') }} as decimal(38, 2))
