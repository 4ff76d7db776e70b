with

reviews as (

    select * from {{ ref('int_reviews') }}

),

described as (

    select
        ---------- ids
        review_key,
        review_id,
        customer_key,
        product_key,
        order_id,
        {{ date_key('reviewed_at') }} as date_key,

        ---------- text
        review_text,
        coalesce(sentiment, 'unknown') as sentiment,

        ---------- numerics
        1 as reviews,
        case when review_score is not null then 1 else 0 end as scored_reviews,
        review_score,

        ---------- booleans
        is_order_known,

        ---------- timestamps
        reviewed_at

    from reviews

)

select * from described
