with

source as (

    select * from {{ ref('base_customers') }}
    where _state = 'staged'

),

renamed as (

    select
        ---------- ids
        customer_id,

        ---------- text
        email,
        first_name,
        last_name,
        gender,
        marital_status,
        education,
        location_type,
        city,
        state,
        country,
        preferred_channel,
        acquisition_channel,

        ---------- numerics
        age,
        annual_income,

        ---------- booleans
        is_active,

        ---------- timestamps
        signup_date,
        last_login,
        updated_at,

        ---------- the raw row
        _batch_id,
        _row_number

    from source

)

select * from renamed
