with

source as (

    select * from {{ ref('base_categories') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        category_id,

        ---------- text
        category_name,

        ---------- timestamps
        created_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
