{{ config(severity='warn') }}

-- Reported, never guessed: orders with the status returned and no refund. Their revenue is kept.
select
    order_id,
    revenue
from {{ ref('int_orders') }}
where status = 'returned' and refund_amount = 0 and net_amount > 0
