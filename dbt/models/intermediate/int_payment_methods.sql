{{ config(post_hook='{{ keep_built_of() }}') }}

with

orders as (

    select * from {{ ref('stg_orders') }}

),

values_found as (

    select
        {{ surrogate_key(['payment_method']) }} as payment_method_key,
        payment_method,
        count(*) as orders
    from orders
    where payment_method is not null
    group by payment_method

)

select * from values_found
