{#- If the source renumbers the items of an order, the latest batch with the order replaces them all. -#}
{%- set renumbered = env_var('DUCKBOOK_ORDER_ITEMS_RENUMBERED', 'false') | lower in ['true', '1', 'yes', 'on'] -%}
{#- Then items missing from a batch count too, so the model is rebuilt from scratch. #}

{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key=['_batch_id', '_row_number'],
    full_refresh=true if renumbered else none, pre_hook="{{ write_down(touched_keys('order_items')) }}",
    post_hook='{{ keep_built_of() }}'
) }}

with

source as (

    {{ rows_of('order_items') }}

),

typed as (

    select
        ---------- ids
        {{ as_id('order_id') }} as order_id,
        {{ as_id('order_item_id') }} as order_item_id,
        {{ as_id('product_id') }} as product_id,

        ---------- numerics
        {{ as_integer('quantity') }} as quantity,
        {{ as_decimal('unit_price', 18, 6) }} as unit_price,
        {{ as_decimal('total_price') }} as total_price,
        {{ as_decimal('discount_amount') }} as discount_amount,
        {{ as_decimal('refund_amount') }} as refund_amount,

        ---------- timestamps
        {{ as_timestamp('created_at') }} as created_at,
        {{ as_timestamp('returned_at') }} as returned_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        {{ rejection(
            key=['order_id', 'order_item_id'],
            casts={
                'quantity': 'integer',
                'unit_price': 'decimal(18,6)',
                'total_price': 'decimal(14,2)',
                'discount_amount': 'decimal(14,2)',
                'refund_amount': 'decimal(14,2)',
                'created_at': 'timestamp',
                'returned_at': 'timestamp'
            },
            product=['quantity', 'unit_price', 'total_price']
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'order_items', whole='order_id' if renumbered else none) }}

)

select * from versions
