with

source as (

    select * from {{ ref('base_order_items') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        order_id,
        order_item_id,
        product_id,

        ---------- numerics
        quantity,
        unit_price,
        total_price,
        discount_amount,
        refund_amount,

        ---------- timestamps
        created_at,
        returned_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
