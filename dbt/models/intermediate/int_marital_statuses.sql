{{ config(post_hook='{{ keep_built_of() }}') }}

with

customers as (

    select * from {{ ref('stg_customers') }}

),

values_found as (

    select
        {{ surrogate_key(['marital_status']) }} as marital_status_key,
        marital_status,
        count(*) as customers
    from customers
    where marital_status is not null
    group by marital_status

)

select * from values_found
