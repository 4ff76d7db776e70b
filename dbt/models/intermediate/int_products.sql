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

-- A key is known from the first batch that brings a sound record of it.
known as (

    select
        versions.product_id,
        min(batches.sequence) as known_since
    from {{ ref('base_products') }} as versions
    inner join {{ ref('stg_batches') }} as batches
        on versions._batch_id = batches.batch_id and batches.table_name = 'products'
    where versions._rejection is null
    group by versions.product_id

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
        coalesce(products.sale_price, products.base_price) - products.cost as unit_margin,
        products.stock_quantity,
        products.weight_kg,
        products.rating,
        products.review_count,

        ---------- booleans
        products.is_active,
        coalesce(products.sale_price < products.base_price, false) as is_on_sale,

        ---------- timestamps
        products.created_at,

        ---------- the row itself
        known.known_since as _known_since

    from products
    left join known on products.product_id = known.product_id
    left join categories on products.category_id = categories.category_id
    left join subcategories on products.subcategory_id = subcategories.subcategory_id
    left join brands on lower(products.brand) = brands.brand_id

)

select * from joined
