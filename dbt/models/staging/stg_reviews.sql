with

source as (

    select * from {{ ref('base_reviews') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        review_id,
        product_id,
        order_id,
        customer_id,

        ---------- text
        review_text,

        ---------- numerics
        review_score,

        ---------- timestamps
        created_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
