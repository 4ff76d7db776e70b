{{ config(post_hook='{{ keep_built_of() }}') }}

with

spellings as (

    select
        brand,
        count(*) as products
    from {{ ref('stg_products') }}
    where brand is not null
    group by brand

),

-- The most frequent spelling among products; ties go to the first in the alphabet.
brands as (

    select
        lower(brand) as brand_id,
        first(brand order by products desc, brand asc) as brand,
        cast(sum(products) as bigint) as products
    from spellings
    group by lower(brand)

)

select * from brands
