{{ config(post_hook='{{ keep_built_of() }}') }}

{%- set tracked = [
    'category_id', 'subcategory_id', 'product_name', 'description', 'brand', 'sku', 'base_price', 'sale_price',
    'weight_kg', 'cost', 'is_active', 'created_at'
] -%}

with

products as not materialized (

    select * from {{ ref('base_products') }}

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

described_versions as (

    {{ history_of('products', 'products', 'product_id', tracked) }}

),

-- A product without a record has one version, with unknown attributes.
versions as (

    {{ with_inferred_members('products', described='described_versions', are_versions=true) }}

),

described as (

    select
        ---------- ids
        {{ surrogate_key(['versions.product_id', 'versions.valid_from']) }} as product_version_key,
        {{ surrogate_key(['versions.product_id']) }} as product_key,
        versions.product_id,
        coalesce(categories.category_key, subcategories.category_key, {{ unknown_key() }}) as category_key,

        ---------- text
        versions.product_name,
        versions.description,
        coalesce(categories.category_name, subcategories.category_name) as category_name,
        subcategories.subcategory_name,
        -- A brand that no current product has keeps its spelling.
        coalesce(brands.brand, versions.brand) as brand,
        versions.sku,

        ---------- numerics
        versions.base_price,
        versions.sale_price,
        coalesce(versions.sale_price, versions.base_price) as current_price,
        versions.cost,
        -- Null if it reaches a trillion.
        try_cast(
            cast(coalesce(versions.sale_price, versions.base_price) as decimal(38, 6)) - versions.cost as decimal(18, 6)
        ) as unit_margin,
        versions.weight_kg,
        versions.version,

        ---------- booleans
        versions.is_active,
        coalesce(versions.sale_price < versions.base_price, false) as is_on_sale,
        versions.is_current,
        versions.is_inferred,

        ---------- dates and timestamps
        versions.created_at,
        versions.valid_from,
        versions.valid_to

    from versions
    left join categories on versions.category_id = categories.category_id
    left join subcategories on versions.subcategory_id = subcategories.subcategory_id
    left join brands on lower(versions.brand) = brands.brand_id

)

select * from described
