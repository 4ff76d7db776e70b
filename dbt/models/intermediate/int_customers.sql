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

-- A key is known from the first batch that brings a sound record of it.
known as (

    select
        versions.customer_id,
        min(batches.sequence) as known_since
    from {{ ref('base_customers') }} as versions
    inner join {{ ref('stg_batches') }} as batches
        on versions._batch_id = batches.batch_id and batches.table_name = 'customers'
    where
        versions._rejection is null
        {%- if is_incremental() %}
        and versions.customer_id in (select touched.customer_id from touched)
        {%- endif %}
    group by versions.customer_id

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

        ---------- timestamps
        customers.signup_date as signed_up_at,
        customers.last_login as last_login_at,

        ---------- the row itself
        known.known_since as _known_since

    from customers
    left join known on customers.customer_id = known.customer_id
    left join locations
        on {{ location_key('customers.city', 'customers.state', 'customers.country') }} = locations.location_key

)

select * from joined
