with

products as (

    select * from {{ ref('stg_products') }}

),

values_found as (

    select
        {{ surrogate_key(['brand']) }} as brand_key,
        brand,
        count(*) as products
    from products
    where brand is not null
    group by brand

)

select * from values_found
