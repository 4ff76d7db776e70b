with

source as (

    select * from {{ ref('base_interactions') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        event_id,
        customer_id,
        product_id,
        session_id,
        order_id,
        order_item_id,

        ---------- text
        event_type,
        device_type,

        ---------- timestamps
        event_date,
        created_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
