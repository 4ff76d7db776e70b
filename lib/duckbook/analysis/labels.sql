-- Labels: orders and revenue per customer of the feature table, in the $days days after $as_of and in no others.
-- Revenue is as of the publication: less cancellations and refunds.
with customers as (
    select customer_key
    from ecom_marts.dim_customers
    where not is_unknown and coalesce(signed_up_at, first_order_at) < $as_of::date + 1
),

later as (
    select customer_key, count(*) as orders, sum(revenue) as revenue
    from ecom_marts.fct_customer_orders
    where ordered_at >= $as_of::date + 1 and ordered_at < $as_of::date + 1 + $days::integer
    group by customer_key
)

select
    customers.customer_key,
    $as_of::date as as_of_date,
    coalesce(later.orders, 0)::integer as label_orders_90d,
    coalesce(later.revenue, 0)::decimal(18, 2) as label_revenue_90d
from customers
left join later using (customer_key)
order by customer_key
