{{ config(post_hook='{{ keep_built_of() }}') }}

with

products as (

    select * from {{ ref('stg_products') }}

),

categories as (

    select * from {{ ref('int_categories') }}

),

subcategories as (

    select * from {{ ref('int_subcategories') }}

),

brands as (

    select * from {{ ref('int_brands') }}

),

members as (

    {{ with_inferred_members('products', described='products') }}

),

joined as (

    select
        ---------- ids
        {{ surrogate_key(['products.product_id']) }} as product_key,
        products.product_id,
        -- The product's own category takes precedence over that of its subcategory.
        coalesce(categories.category_key, subcategories.category_key, {{ unknown_key() }}) as category_key,
        products.category_id,
        products.subcategory_id,

        ---------- text
        products.product_name,
        products.description,
        coalesce(categories.category_name, subcategories.category_name) as category_name,
        subcategories.subcategory_name,
        brands.brand,
        products.sku,

        ---------- numerics
        products.base_price,
        products.sale_price,
        coalesce(products.sale_price, products.base_price) as current_price,
        products.cost,
        -- Null if it reaches a trillion.
        try_cast(
            cast(coalesce(products.sale_price, products.base_price) as decimal(38, 6)) - products.cost as decimal(18, 6)
        ) as unit_margin,
        products.stock_quantity,
        products.weight_kg,
        products.rating,
        products.review_count,

        ---------- booleans
        products.is_active,
        coalesce(products.sale_price < products.base_price, false) as is_on_sale,
        products.is_inferred,

        ---------- timestamps
        products.created_at

    from members as products
    left join categories on products.category_id = categories.category_id
    left join subcategories on products.subcategory_id = subcategories.subcategory_id
    left join brands on lower(products.brand) = brands.brand_id

)

select * from joined
