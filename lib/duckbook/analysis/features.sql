-- Customer features as of $as_of, from published marts only: one row per customer who had signed up by then.
-- Every number counts only what had happened by the end of that day, and no column with a current state is used.
-- The marts do not say when an order was cancelled, so cancelled orders count as orders here.
-- features.yml describes the columns; tests check that it matches this file.
with customers as (
    select
        customer_key,
        customer_id,
        coalesce(acquisition_channel, 'unknown') as acquisition_channel,
        coalesce(signed_up_at, first_order_at)::date as signed_up_on
    from ecom_marts.dim_customers
    where not is_unknown and coalesce(signed_up_at, first_order_at) < $as_of::date + 1
),

orders as (
    select
        *,
        ordered_at::date as day,
        $as_of::date - ordered_at::date as days_ago,
        row_number() over (partition by customer_key order by ordered_at, order_key) as number,
        delivered_at < $as_of::date + 1 as is_delivered,
        delivered_at < $as_of::date + 1 and delivered_at > promised_at as is_delivered_late
    from ecom_marts.fct_customer_orders
    where ordered_at < $as_of::date + 1
),

bought as (
    select
        customer_key,
        count(*) as orders,
        count(*) filter (where days_ago < 90) as orders_90d,
        count(*) filter (where days_ago < 365) as orders_365d,
        min(day) as first_order_on,
        max(day) as last_order_on,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(net_amount) as net_amount,
        coalesce(sum(net_amount) filter (where days_ago < 90), 0) as net_amount_90d,
        coalesce(sum(net_amount) filter (where days_ago < 365), 0) as net_amount_365d,
        coalesce(sum(net_amount) filter (where number > 1), 0) as repeat_net_amount,
        arg_max(net_amount, number) as last_order_net_amount,
        sum(units) as units,
        count(*) filter (where is_delivered) as deliveries,
        count(*) filter (where is_delivered_late) as late_deliveries
    from orders
    group by customer_key
),

lines as (
    select
        customer_key,
        count(distinct product_key) filter (where ordered_at < $as_of::date + 1) as products,
        coalesce(sum(returned_units) filter (where returned_at < $as_of::date + 1), 0) as returned_units
    from ecom_marts.fct_order_details
    where ordered_at < $as_of::date + 1
    group by customer_key
),

reviews as (
    select
        customer_key,
        count(*) as reviews,
        sum(review_score) / count(review_score) as mean_review_score,
        count(*) filter (where review_score <= 2) as low_reviews
    from ecom_marts.fct_customer_reviews
    where reviewed_at < $as_of::date + 1
    group by customer_key
),

-- Activity is published per month, so only months that were over by the end of the day count.
months as (
    select
        *,
        date_diff('month', month_start, date_trunc('month', $as_of::date + 1)::date) as months_ago
    from ecom_marts.fct_customer_activity
    where month_start + interval 1 month <= $as_of::date + 1
),

visited as (
    select
        customer_key,
        coalesce(sum(sessions) filter (where months_ago <= 3), 0) as sessions_3m,
        coalesce(sum(sessions) filter (where months_ago <= 12), 0) as sessions_12m,
        coalesce(sum(views) filter (where months_ago <= 3), 0) as views_3m,
        coalesce(sum(cart_adds) filter (where months_ago <= 3), 0) as cart_adds_3m,
        coalesce(sum(wishlist_adds) filter (where months_ago <= 3), 0) as wishlist_adds_3m,
        coalesce(sum(searches) filter (where months_ago <= 3), 0) as searches_3m,
        min(months_ago) filter (where sessions > 0) as months_since_last_session
    from months
    group by customer_key
)

select
    customers.customer_key,
    customers.customer_id,
    $as_of::date as as_of_date,
    customers.acquisition_channel,
    ($as_of::date - customers.signed_up_on)::integer as tenure_days,
    coalesce(bought.orders, 0)::integer as orders,
    coalesce(bought.orders_90d, 0)::integer as orders_90d,
    coalesce(bought.orders_365d, 0)::integer as orders_365d,
    ($as_of::date - bought.last_order_on)::integer as days_since_last_order,
    ($as_of::date - bought.first_order_on)::integer as days_since_first_order,
    case when bought.orders > 1 then (bought.last_order_on - bought.first_order_on) / (bought.orders - 1) end
        as mean_days_between_orders,
    coalesce(bought.net_amount, 0)::decimal(18, 2) as net_amount,
    coalesce(bought.net_amount_90d, 0)::decimal(18, 2) as net_amount_90d,
    coalesce(bought.net_amount_365d, 0)::decimal(18, 2) as net_amount_365d,
    coalesce(bought.repeat_net_amount, 0)::decimal(18, 2) as repeat_net_amount,
    round(bought.net_amount / bought.orders, 2)::decimal(18, 2) as mean_net_amount_per_order,
    bought.last_order_net_amount::decimal(18, 2) as last_order_net_amount,
    round(bought.discount_amount::double / nullif(bought.gross_amount, 0)::double, 6) as discount_share,
    coalesce(bought.units, 0)::integer as units,
    coalesce(lines.products, 0)::integer as products,
    coalesce(lines.returned_units, 0)::integer as returned_units,
    coalesce(bought.deliveries, 0)::integer as deliveries,
    coalesce(bought.late_deliveries, 0)::integer as late_deliveries,
    coalesce(reviews.reviews, 0)::integer as reviews,
    reviews.mean_review_score,
    coalesce(reviews.low_reviews, 0)::integer as low_reviews,
    coalesce(visited.sessions_3m, 0)::integer as sessions_3m,
    coalesce(visited.sessions_12m, 0)::integer as sessions_12m,
    coalesce(visited.views_3m, 0)::integer as views_3m,
    coalesce(visited.cart_adds_3m, 0)::integer as cart_adds_3m,
    coalesce(visited.wishlist_adds_3m, 0)::integer as wishlist_adds_3m,
    coalesce(visited.searches_3m, 0)::integer as searches_3m,
    visited.months_since_last_session::integer as months_since_last_session
from customers
left join bought using (customer_key)
left join lines using (customer_key)
left join reviews using (customer_key)
left join visited using (customer_key)
order by customer_key
