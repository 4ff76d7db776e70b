with

versions as (

    select * from {{ ref('int_product_versions') }}

),

members as (

    select
        ---------- ids
        product_version_key,
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
        weight_kg,
        version,

        ---------- booleans
        is_active,
        is_on_sale,
        is_current,
        is_inferred,
        false as is_unknown,

        ---------- dates and timestamps
        created_at as launched_at,
        valid_from,
        valid_to

    from versions

),

unknown as (

    select
        {{ unknown_key() }} as product_version_key,
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
        null as weight_kg,
        1 as version,
        null as is_active,
        false as is_on_sale,
        true as is_current,
        false as is_inferred,
        true as is_unknown,
        null as launched_at,
        timestamp '1900-01-01' as valid_from,
        timestamp '9999-12-31' as valid_to

)

select * from members

union all

select * from unknown
