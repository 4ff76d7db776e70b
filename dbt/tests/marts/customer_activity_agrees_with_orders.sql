-- The two marts and the dimension agree on the orders of each customer.
with

activity as (

    select
        customer_key,
        sum(orders) as orders,
        sum(revenue) as revenue
    from {{ ref('fct_customer_activity') }}
    group by customer_key

),

orders as (

    select
        customer_key,
        sum(orders) as orders,
        sum(revenue) as revenue
    from {{ ref('fct_customer_orders') }}
    group by customer_key

),

customers as (

    select
        customer_key,
        orders,
        revenue
    from {{ ref('dim_customers') }}

)

select
    customers.customer_key,
    customers.orders,
    orders.orders as orders_of_orders,
    activity.orders as orders_of_activity
from customers
full outer join orders on customers.customer_key = orders.customer_key
full outer join activity on coalesce(customers.customer_key, orders.customer_key) = activity.customer_key
where
    customers.customer_key is null
    or coalesce(orders.orders, 0) <> customers.orders
    or coalesce(activity.orders, 0) <> customers.orders
    or coalesce(orders.revenue, 0) <> customers.revenue
    or coalesce(activity.revenue, 0) <> customers.revenue
