{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key=['_batch_id', '_row_number'],
    pre_hook="{{ write_down(touched_keys('orders', undated=this)) }}",
    post_hook='{{ keep_built_of() }}'
) }}

with

source as (

    {{ rows_of('orders') }}

),

typed as (

    select
        ---------- ids
        {{ as_id('order_id') }} as order_id,
        {{ as_id('customer_id') }} as customer_id,

        ---------- text
        {{ as_order_status('status') }} as status,
        {{ as_enum('payment_method') }} as payment_method,
        {{ as_text('shipping_address') }} as shipping_address,
        {{ as_text('billing_address') }} as billing_address,

        ---------- numerics
        {{ as_decimal('total_amount') }} as total_amount,
        {{ as_decimal('shipping_cost') }} as shipping_cost,
        {{ as_decimal('discount_amount') }} as discount_amount,

        ---------- timestamps
        {{ as_timestamp('order_date') }} as order_date,
        {{ as_timestamp('created_at') }} as created_at,
        {{ as_timestamp('updated_at') }} as updated_at,
        {{ as_timestamp('promised_at') }} as promised_at,
        {{ as_timestamp('shipped_at') }} as shipped_at,
        {{ as_timestamp('delivered_at') }} as delivered_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        {{ rejection(
            key=['order_id'],
            casts={
                'total_amount': 'decimal(14,2)',
                'shipping_cost': 'decimal(14,2)',
                'discount_amount': 'decimal(14,2)',
                'order_date': 'timestamp',
                'created_at': 'timestamp',
                'updated_at': 'timestamp',
                'promised_at': 'timestamp',
                'shipped_at': 'timestamp',
                'delivered_at': 'timestamp'
            }
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'orders', updated_at='updated_at') }}

)

select * from versions
