with

source as (

    select * from {{ ref('base_products') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        product_id,
        category_id,
        subcategory_id,

        ---------- text
        product_name,
        description,
        brand,
        sku,

        ---------- numerics
        base_price,
        sale_price,
        stock_quantity,
        weight_kg,
        rating,
        review_count,
        cost,

        ---------- booleans
        is_active,

        ---------- timestamps
        created_at,
        updated_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
