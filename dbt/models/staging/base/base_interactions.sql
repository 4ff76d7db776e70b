{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key=['_batch_id', '_row_number'],
    pre_hook="{{ write_down(touched_keys('interactions')) }}",
    post_hook='{{ keep_built_of() }}'
) }}

with

-- `rows_of` reads it in the select list, where sqlfluff does not look.
repeated as materialized ( -- noqa: ST03

    {{ repeated_keys('interactions') }}

),

-- Not materialized: checking for rivals twice costs less than keeping all rows in memory.
source as not materialized (

    {{ rows_of('interactions', repeated='repeated') }}

),

typed as not materialized (

    select
        ---------- ids
        {{ as_id('event_id') }} as event_id,
        {{ as_id('customer_id') }} as customer_id,
        {{ as_id('product_id') }} as product_id,
        {{ as_id('session_id') }} as session_id,
        {{ as_id('order_id') }} as order_id,
        {{ as_id('order_item_id') }} as order_item_id,

        ---------- text
        {{ as_enum('event_type') }} as event_type,
        {{ as_enum('device_type') }} as device_type,

        ---------- timestamps
        {{ as_timestamp('event_date') }} as event_date,
        {{ as_timestamp('created_at') }} as created_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        _is_rival,
        {{ rejection(
            key=['event_id'],
            casts={
                'event_date': 'timestamp',
                'created_at': 'timestamp'
            }
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'interactions', is_rival='_is_rival') }}

)

select * from versions
