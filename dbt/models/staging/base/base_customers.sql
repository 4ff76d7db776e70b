{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key=['_batch_id', '_row_number'],
    pre_hook="{{ write_down(touched_keys('customers', undated=this)) }}",
    post_hook='{{ keep_built_of() }}'
) }}

with

source as (

    {{ rows_of('customers') }}

),

typed as (

    select
        ---------- ids
        {{ as_id('customer_id') }} as customer_id,

        ---------- text
        lower({{ as_text('email') }}) as email,
        {{ as_text('first_name') }} as first_name,
        {{ as_text('last_name') }} as last_name,
        {{ as_enum('gender') }} as gender,
        {{ as_enum('marital_status') }} as marital_status,
        {{ as_enum('education') }} as education,
        {{ as_enum('location_type') }} as location_type,
        {{ as_name('city') }} as city,
        {{ as_state('state', as_country('country')) }} as state,
        {{ as_country('country') }} as country,
        {{ as_enum('preferred_channel') }} as preferred_channel,
        {{ as_enum('acquisition_channel') }} as acquisition_channel,

        ---------- numerics
        {{ as_integer('age') }} as age,
        {{ as_decimal('annual_income') }} as annual_income,

        ---------- booleans
        {{ as_boolean('is_active') }} as is_active,

        ---------- timestamps
        {{ as_timestamp('signup_date') }} as signup_date,
        {{ as_timestamp('last_login') }} as last_login,
        {{ as_timestamp('updated_at') }} as updated_at,

        ---------- the raw row
        _key,
        _row_hash,
        _batch_id,
        _row_number,
        {{ rejection(
            key=['customer_id'],
            casts={
                'age': 'integer',
                'annual_income': 'decimal(14,2)',
                'is_active': 'boolean',
                'signup_date': 'timestamp',
                'last_login': 'timestamp',
                'updated_at': 'timestamp'
            }
        ) }} as _rejection

    from source

),

versions as (

    {{ with_state('typed', 'customers', updated_at='updated_at', has_history=true) }}

)

select * from versions
