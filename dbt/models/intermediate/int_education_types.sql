{{ config(post_hook='{{ keep_built_of() }}') }}

with

customers as (

    select * from {{ ref('stg_customers') }}

),

values_found as (

    select
        {{ surrogate_key(['education']) }} as education_type_key,
        education,
        count(*) as customers
    from customers
    where education is not null
    group by education

)

select * from values_found
