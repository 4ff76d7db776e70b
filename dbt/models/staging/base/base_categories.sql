with

source as (

    select * from {{ source('ecom_raw', 'categories') }}

),

typed as (

    select
        ---------- ids
        {{ as_id('category_id') }} as category_id,

        ---------- text
        {{ as_name('category_name') }} as category_name,

        ---------- timestamps
        {{ as_timestamp('created_at') }} as created_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        {{ rejection(
            key=['category_id'],
            casts={
                'created_at': 'timestamp'
            }
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'categories') }}

)

select * from versions
