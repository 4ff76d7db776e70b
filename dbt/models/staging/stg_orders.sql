with

source as (

    select * from {{ ref('base_orders') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        order_id,
        customer_id,

        ---------- text
        status,
        payment_method,
        shipping_address,
        billing_address,

        ---------- numerics
        total_amount,
        shipping_cost,
        discount_amount,

        ---------- timestamps
        order_date,
        created_at,
        updated_at,
        promised_at,
        shipped_at,
        delivered_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
