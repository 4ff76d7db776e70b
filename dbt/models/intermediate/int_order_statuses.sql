{{ config(post_hook='{{ keep_built_of() }}') }}

with

orders as (

    select * from {{ ref('stg_orders') }}

),

values_found as (

    select
        {{ surrogate_key(['status']) }} as order_status_key,
        status,
        -- The step of an order's life; null for a status that is not known here.
        case status
            when 'pending' then 1
            when 'processing' then 2
            when 'shipped' then 3
            when 'delivered' then 4
            when 'returned' then 5
            when 'cancelled' then 6
            when 'canceled' then 6
        end as step,
        {{ is_cancelled('status') }} as is_cancelled,
        status in ('delivered', 'returned', 'cancelled', 'canceled') as is_final,
        count(*) as orders
    from orders
    where status is not null
    group by status

)

select * from values_found
