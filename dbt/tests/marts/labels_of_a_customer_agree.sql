-- A customer's labels do not contradict each other: the segment fits the status, a prospect has bought nothing, and a
-- new customer has not bought twice.
with

customers as (

    select * from {{ ref('dim_customers') }}

),

segments as (

    select * from {{ ref('fct_customer_segments') }}

),

statuses as (

    select * from (
        values
        ('champion', 'active', 3), ('promising', 'active', 3), ('new', 'active', 3),
        ('at risk', 'lapsing', 2), ('needs attention', 'lapsing', 2), ('hibernating', 'lapsing', 2),
        ('lost', 'lost', 1), ('prospect', 'prospect', null), ('unknown', 'unknown', null)
    ) as of_segments (segment, customer_status, recency_score)

)

select
    customers.customer_key,
    customers.customer_status,
    segments.segment
from customers
full outer join segments on customers.customer_key = segments.customer_key
left join statuses on segments.segment = statuses.segment
where
    customers.customer_status is distinct from statuses.customer_status
    or segments.recency_score is distinct from statuses.recency_score
    or (customers.customer_status = 'prospect') <> (
        customers.orders = customers.cancelled_orders and not customers.is_unknown
    )
    or (segments.segment = 'new' and customers.is_repeat_customer)
    or (segments.segment in ('champion', 'at risk') and not customers.is_repeat_customer)
