with

categories as (

    select * from {{ ref('stg_categories') }}

),

subcategories as (

    select
        category_id,
        count(*) as subcategories
    from {{ ref('stg_subcategories') }}
    group by category_id

),

joined as (

    select
        {{ surrogate_key(['categories.category_id']) }} as category_key,
        categories.category_id,
        categories.category_name,
        coalesce(subcategories.subcategories, 0) as subcategories,
        categories.created_at
    from categories
    left join subcategories on categories.category_id = subcategories.category_id

)

select * from joined
