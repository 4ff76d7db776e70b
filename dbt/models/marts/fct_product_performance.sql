with

products as (

    select * from {{ ref('dim_products') }}

),

sales as (

    select
        product_key,
        count(distinct case when order_lines > 0 and not is_credit_line then order_key end) as orders_with_product,
        cast(sum(order_lines) as bigint) as order_lines,
        cast(sum(units) as bigint) as units,
        cast(sum(returned_units) as bigint) as returned_units,
        sum(gross_amount) as gross_amount,
        sum(discount_amount) as discount_amount,
        sum(net_amount) as net_amount,
        sum(shipping_amount) as shipping_amount,
        sum(cancelled_amount) as cancelled_amount,
        sum(refund_amount) as refund_amount,
        sum(revenue) as revenue,
        sum(cost_amount) as cost_amount,
        sum(uncosted_units) as uncosted_units
    from {{ ref('fct_order_details') }}
    group by product_key

),

interactions as (

    select
        product_key,
        sum(events) as events,
        sum(views) as views,
        sum(cart_adds) as cart_adds,
        sum(purchases) as purchases
    from {{ ref('fct_product_interactions') }}
    group by product_key

),

reviews as (

    select
        product_key,
        sum(reviews) as reviews,
        sum(scored_reviews) as scored_reviews,
        sum(review_score) as review_score_sum
    from {{ ref('fct_customer_reviews') }}
    group by product_key

),

-- One row per product on every side, so the joins do not multiply rows.
joined as (

    select
        ---------- ids
        products.product_key,
        products.category_key,

        ---------- sales
        coalesce(sales.orders_with_product, 0) as orders_with_product,
        cast(coalesce(sales.order_lines, 0) as bigint) as order_lines,
        cast(coalesce(sales.units, 0) as bigint) as units,
        cast(coalesce(sales.returned_units, 0) as bigint) as returned_units,
        cast(coalesce(sales.gross_amount, 0) as decimal(18, 2)) as gross_amount,
        cast(coalesce(sales.discount_amount, 0) as decimal(18, 2)) as discount_amount,
        cast(coalesce(sales.net_amount, 0) as decimal(18, 2)) as net_amount,
        cast(coalesce(sales.shipping_amount, 0) as decimal(18, 2)) as shipping_amount,
        cast(coalesce(sales.cancelled_amount, 0) as decimal(18, 2)) as cancelled_amount,
        cast(coalesce(sales.refund_amount, 0) as decimal(18, 2)) as refund_amount,
        cast(coalesce(sales.revenue, 0) as decimal(18, 2)) as revenue,
        cast(coalesce(sales.cost_amount, 0) as decimal(18, 2)) as cost_amount,
        cast(coalesce(sales.uncosted_units, 0) as bigint) as uncosted_units,
        case
            when coalesce(sales.uncosted_units, 0) = 0
                then cast(coalesce(sales.revenue - sales.cost_amount, 0) as decimal(18, 2))
        end as margin_amount,
        {{ ratio('sales.net_amount', 'sales.units') }} as average_unit_price,
        {{ ratio('sales.returned_units', 'sales.units', 4) }} as return_rate,
        case
            when sales.uncosted_units = 0 then {{ ratio('sales.revenue - sales.cost_amount', 'sales.revenue', 4) }}
        end as margin_rate,

        ---------- interactions
        cast(coalesce(interactions.events, 0) as bigint) as events,
        cast(coalesce(interactions.views, 0) as bigint) as views,
        cast(coalesce(interactions.cart_adds, 0) as bigint) as cart_adds,
        cast(coalesce(interactions.purchases, 0) as bigint) as purchases,
        {{ ratio('interactions.purchases', 'interactions.views', 4) }} as purchase_rate,

        ---------- reviews
        cast(coalesce(reviews.reviews, 0) as bigint) as reviews,
        cast(coalesce(reviews.scored_reviews, 0) as bigint) as scored_reviews,
        cast(coalesce(reviews.review_score_sum, 0) as bigint) as review_score_sum,
        {{ ratio('reviews.review_score_sum', 'reviews.scored_reviews') }} as average_review_score,

        ---------- the product as it stands
        products.current_price,
        products.stock_quantity

    from products
    left join sales on products.product_key = sales.product_key
    left join interactions on products.product_key = interactions.product_key
    left join reviews on products.product_key = reviews.product_key

)

select * from joined
