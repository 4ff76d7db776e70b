with

source as (

    select * from {{ source('ecom_raw', 'subcategories') }}

),

typed as (

    select
        ---------- ids
        {{ as_id('subcategory_id') }} as subcategory_id,
        {{ as_id('category_id') }} as category_id,

        ---------- text
        {{ as_name('subcategory_name') }} as subcategory_name,

        ---------- timestamps
        {{ as_timestamp('created_at') }} as created_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        {{ rejection(
            key=['subcategory_id'],
            casts={
                'created_at': 'timestamp'
            }
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'subcategories') }}

)

select * from versions
