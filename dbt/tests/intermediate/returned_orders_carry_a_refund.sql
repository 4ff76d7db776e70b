{{ config(severity='warn') }}

-- Reported, never guessed: orders in the status returned whose source gives no refund. Their revenue stands.
select
    order_id,
    revenue
from {{ ref('int_orders') }}
where status = 'returned' and refund_amount = 0 and net_amount > 0
