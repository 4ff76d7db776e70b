-- The marts agree on the sales and events of each product.
with

details as (

    select
        product_key,
        sum(units) as units,
        sum(revenue) as revenue
    from {{ ref('fct_order_details') }}
    group by product_key

),

monthly as (

    select
        product_key,
        sum(units) as units,
        sum(revenue) as revenue
    from {{ ref('fct_sales_by_product') }}
    group by product_key

),

performance as (

    select
        product_key,
        units,
        revenue
    from {{ ref('fct_product_performance') }}

)

select
    performance.product_key,
    performance.units,
    details.units as units_of_details,
    monthly.units as units_of_months
from performance
full outer join details on performance.product_key = details.product_key
full outer join monthly on coalesce(performance.product_key, details.product_key) = monthly.product_key
where
    performance.product_key is null
    or coalesce(details.units, 0) <> performance.units
    or coalesce(monthly.units, 0) <> performance.units
    or coalesce(details.revenue, 0) <> performance.revenue
    or coalesce(monthly.revenue, 0) <> performance.revenue
