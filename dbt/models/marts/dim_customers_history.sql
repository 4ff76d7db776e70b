{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='customer_key', on_schema_change='fail',
    pre_hook="{{ write_down(touched_keys('customers', undated=ref('base_customers'))) }}", post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_customers') }}, {{ ref('stg_batches') }}, {{ ref('int_named_members') }}
with

versions as (

    select * from {{ ref('int_customer_versions') }}
    {%- if is_incremental() %}
    where
        customer_id in (
            select customers.customer_id
            from {{ ref('base_customers') }} as customers
            where customers._key in (select touched._key from {{ written_down() }} as touched)
        )
        or customer_id in (
            select members.member_id from {{ ref('int_named_members') }} as members
            where members.table_name = 'customers' and {{ is_new('members.named_in') }}
        )
    {%- endif %}

),

members as (

    select
        ---------- ids
        customer_version_key,
        customer_key,
        customer_id,
        location_key,

        ---------- text
        email,
        first_name,
        last_name,
        full_name,
        gender,
        coalesce(age_group, 'unknown') as age_group,
        coalesce(education, 'unknown') as education,
        coalesce(marital_status, 'unknown') as marital_status,
        coalesce(location_type, 'unknown') as location_type,
        coalesce(preferred_channel, 'unknown') as preferred_channel,
        coalesce(acquisition_channel, 'unknown') as acquisition_channel,

        ---------- numerics
        age,
        annual_income,
        version,

        ---------- booleans
        is_active,
        is_current,
        is_inferred,
        false as is_unknown,

        ---------- dates and timestamps
        signed_up_at,
        valid_from,
        valid_to

    from versions

),

unknown as (

    select
        {{ unknown_key() }} as customer_version_key,
        {{ unknown_key() }} as customer_key,
        null as customer_id,
        {{ unknown_key() }} as location_key,
        null as email,
        null as first_name,
        null as last_name,
        'unknown' as full_name,
        null as gender,
        'unknown' as age_group,
        'unknown' as education,
        'unknown' as marital_status,
        'unknown' as location_type,
        'unknown' as preferred_channel,
        'unknown' as acquisition_channel,
        null as age,
        null as annual_income,
        1 as version,
        null as is_active,
        true as is_current,
        false as is_inferred,
        true as is_unknown,
        null as signed_up_at,
        timestamp '1900-01-01' as valid_from,
        timestamp '9999-12-31' as valid_to

)

select * from members

union all

select * from unknown
