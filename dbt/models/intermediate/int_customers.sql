{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='customer_id',
    pre_hook="{{ write_down(touched_keys('customers', undated=ref('base_customers'))) }}", post_hook='{{ keep_built_of() }}'
) }}

with

{% if is_incremental() -%}
touched as (

    select customer_id from {{ ref('base_customers') }}
    where _key in (select keys._key from {{ written_down() }} as keys)

),

{% endif -%}
customers as (

    select * from {{ ref('stg_customers') }}
    {%- if is_incremental() %}
    where customer_id in (select touched.customer_id from touched)
    {%- endif %}

),

locations as (

    select * from {{ ref('int_locations') }}

),

members as (

    {{ with_inferred_members('customers', described='customers') }}

),

joined as (

    select
        ---------- ids
        {{ surrogate_key(['customers.customer_id']) }} as customer_key,
        customers.customer_id,
        coalesce(locations.location_key, {{ unknown_key() }}) as location_key,

        ---------- text
        customers.email,
        customers.first_name,
        customers.last_name,
        nullif(concat_ws(' ', customers.first_name, customers.last_name), '') as full_name,
        customers.gender,
        customers.education,
        customers.marital_status,
        customers.location_type,
        customers.city,
        customers.state,
        customers.country,
        customers.preferred_channel,
        customers.acquisition_channel,
        {{ age_group('customers.age') }} as age_group,

        ---------- numerics
        customers.age,
        customers.annual_income,

        ---------- booleans
        customers.is_active,
        customers.is_inferred,

        ---------- timestamps
        customers.signup_date as signed_up_at,
        customers.last_login as last_login_at

    from members as customers
    left join locations
        on {{ location_key('customers.city', 'customers.state', 'customers.country') }} = locations.location_key

)

select * from joined
