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

joined as (

    select
        ---------- ids
        {{ surrogate_key(['products.product_id']) }} as product_key,
        products.product_id,
        -- The category that the product itself names comes before the one that its subcategory belongs to.
        coalesce(categories.category_key, subcategories.category_key, {{ unknown_key() }}) as category_key,
        products.category_id,
        products.subcategory_id,
        brands.brand_key,

        ---------- text
        products.product_name,
        products.description,
        coalesce(categories.category_name, subcategories.category_name) as category_name,
        subcategories.subcategory_name,
        products.brand,
        products.sku,

        ---------- numerics
        products.base_price,
        products.sale_price,
        coalesce(products.sale_price, products.base_price) as current_price,
        products.cost,
        coalesce(products.sale_price, products.base_price) - products.cost as unit_margin,
        products.stock_quantity,
        products.weight_kg,
        products.rating,
        products.review_count,

        ---------- booleans
        products.is_active,
        coalesce(products.sale_price < products.base_price, false) as is_on_sale,

        ---------- timestamps
        products.created_at

    from products
    left join categories on products.category_id = categories.category_id
    left join subcategories on products.subcategory_id = subcategories.subcategory_id
    left join brands on products.brand = brands.brand

)

select * from joined
