{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key=['_batch_id', '_row_number'],
    pre_hook="{{ write_down(touched_keys('reviews')) }}",
    post_hook='{{ keep_built_of() }}'
) }}

with

source as (

    {{ rows_of('reviews') }}

),

typed as (

    select
        ---------- ids
        coalesce({{ as_id('review_id') }}, _key) as review_id,
        {{ as_id('product_id') }} as product_id,
        {{ as_id('order_id') }} as order_id,
        {{ as_id('customer_id') }} as customer_id,

        ---------- text
        {{ as_text('review_text') }} as review_text,

        ---------- numerics
        {{ as_integer('review_score') }} as review_score,

        ---------- timestamps
        {{ as_timestamp('created_at') }} as created_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        {{ rejection(
            key=['review_id'],
            casts={
                'review_score': 'integer',
                'created_at': 'timestamp'
            }
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'reviews') }}

)

select * from versions
