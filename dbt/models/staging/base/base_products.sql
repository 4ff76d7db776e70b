{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key=['_batch_id', '_row_number'],
    pre_hook="{{ write_down(touched_keys('products', undated=this)) }}",
    post_hook='{{ keep_built_of() }}'
) }}

with

source as (

    {{ rows_of('products') }}

),

typed as (

    select
        ---------- ids
        {{ as_id('product_id') }} as product_id,
        {{ as_id('category_id') }} as category_id,
        {{ as_id('subcategory_id') }} as subcategory_id,

        ---------- text
        {{ as_text('product_name') }} as product_name,
        {{ as_text('description') }} as description,
        {{ as_name('brand') }} as brand,
        {{ as_text('sku') }} as sku,

        ---------- numerics
        {{ as_decimal('base_price') }} as base_price,
        {{ as_decimal('sale_price') }} as sale_price,
        {{ as_integer('stock_quantity') }} as stock_quantity,
        {{ as_decimal('weight_kg', 18, 3) }} as weight_kg,
        {{ as_decimal('rating', 4, 2) }} as rating,
        {{ as_integer('review_count') }} as review_count,
        {{ as_decimal('cost', 18, 6) }} as cost,

        ---------- booleans
        {{ as_boolean('is_active') }} as is_active,

        ---------- timestamps
        {{ as_timestamp('created_at') }} as created_at,
        {{ as_timestamp('updated_at') }} as updated_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        {{ rejection(
            key=['product_id'],
            casts={
                'base_price': 'decimal(14,2)',
                'sale_price': 'decimal(14,2)',
                'stock_quantity': 'integer',
                'weight_kg': 'decimal(18,3)',
                'rating': 'decimal(4,2)',
                'review_count': 'integer',
                'cost': 'decimal(18,6)',
                'is_active': 'boolean',
                'created_at': 'timestamp',
                'updated_at': 'timestamp'
            }
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'products', updated_at='updated_at', has_history=true) }}

)

select * from versions
