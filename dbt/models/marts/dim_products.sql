with

products as (

    select * from {{ ref('int_products') }}

),

described as (

    select
        ---------- ids
        product_key,
        product_id,
        category_key,

        ---------- text
        coalesce(product_name, 'unknown') as product_name,
        description,
        coalesce(category_name, 'unknown') as category_name,
        coalesce(subcategory_name, 'unknown') as subcategory_name,
        coalesce(brand, 'unknown') as brand,
        sku,

        ---------- numerics
        base_price,
        sale_price,
        current_price,
        cost,
        unit_margin,
        stock_quantity,
        weight_kg,
        rating,
        review_count,

        ---------- booleans
        is_active,
        is_on_sale,
        is_inferred,
        false as is_unknown,

        ---------- timestamps
        created_at as launched_at

    from products

),

unknown as (

    select
        {{ unknown_key() }} as product_key,
        null as product_id,
        {{ unknown_key() }} as category_key,
        'unknown' as product_name,
        null as description,
        'unknown' as category_name,
        'unknown' as subcategory_name,
        'unknown' as brand,
        null as sku,
        null as base_price,
        null as sale_price,
        null as current_price,
        null as cost,
        null as unit_margin,
        null as stock_quantity,
        null as weight_kg,
        null as rating,
        null as review_count,
        null as is_active,
        false as is_on_sale,
        false as is_inferred,
        true as is_unknown,
        null as launched_at

)

select * from described

union all

select * from unknown
