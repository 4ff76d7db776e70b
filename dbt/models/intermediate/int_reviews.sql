{{ config(post_hook='{{ keep_built_of() }}') }}

with

reviews as (

    select * from {{ ref('stg_reviews') }}

),

orders as (

    select * from {{ ref('int_orders') }}

),

joined as (

    select
        ---------- ids
        {{ surrogate_key(['reviews.review_id']) }} as review_key,
        reviews.review_id,
        -- A review without a customer belongs to the customer of its order.
        {{ surrogate_key(['coalesce(reviews.customer_id, orders.customer_id)']) }} as customer_key,
        coalesce(reviews.customer_id, orders.customer_id) as customer_id,
        {{ surrogate_key(['reviews.product_id']) }} as product_key,
        reviews.product_id,
        reviews.order_id,

        ---------- text
        reviews.review_text,
        {{ sentiment('reviews.review_score') }} as sentiment,

        ---------- numerics
        reviews.review_score,

        ---------- booleans
        coalesce(orders.is_order_known, false) as is_order_known,

        ---------- timestamps
        -- Without a time of the review, use that of the order.
        coalesce(reviews.created_at, orders.delivered_at, orders.ordered_at) as reviewed_at

    from reviews
    left join orders on reviews.order_id = orders.order_id

)

select * from joined
