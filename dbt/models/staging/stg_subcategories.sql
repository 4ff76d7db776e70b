with

source as (

    select * from {{ ref('base_subcategories') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        subcategory_id,
        category_id,

        ---------- text
        subcategory_name,

        ---------- timestamps
        created_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
