{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='customer_id',
    pre_hook="{{ write_down(touched_keys('customers', undated=ref('base_customers'))) }}", post_hook='{{ keep_built_of() }}'
) }}

{%- set tracked = [
    'email', 'first_name', 'last_name', 'gender', 'age', 'annual_income', 'marital_status', 'education',
    'location_type', 'city', 'state', 'country', 'preferred_channel', 'acquisition_channel', 'is_active', 'signup_date'
] -%}

with

customers as not materialized (

    select * from {{ ref('base_customers') }}
    {%- if is_incremental() %}
    -- A late row changes the validity of the versions around it, so rebuild all versions of the customer.
    where _key in (select touched._key from {{ written_down() }} as touched)
    {%- endif %}

),

described_versions as (

    {{ history_of('customers', 'customers', 'customer_id', tracked) }}

),

-- A customer without a record has one version, with unknown attributes.
versions as (

    {{ with_inferred_members('customers', described='described_versions', are_versions=true) }}

),

described as (

    select
        ---------- ids
        {{ surrogate_key(['customer_id', 'valid_from']) }} as customer_version_key,
        {{ surrogate_key(['customer_id']) }} as customer_key,
        customer_id,
        case
            when city is not null or state is not null or country is not null
                then {{ location_key('city', 'state', 'country') }}
            else {{ unknown_key() }}
        end as location_key,

        ---------- text
        email,
        first_name,
        last_name,
        nullif(concat_ws(' ', first_name, last_name), '') as full_name,
        gender,
        education,
        marital_status,
        location_type,
        city,
        state,
        country,
        preferred_channel,
        acquisition_channel,
        {{ age_group('age') }} as age_group,

        ---------- numerics
        age,
        annual_income,
        version,

        ---------- booleans
        is_active,
        is_current,
        is_inferred,

        ---------- dates and timestamps
        signup_date as signed_up_at,
        valid_from,
        valid_to

    from versions

)

select * from described
