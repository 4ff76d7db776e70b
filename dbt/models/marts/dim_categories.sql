with

categories as (

    select * from {{ ref('int_categories') }}

),

products as (

    select
        category_key,
        count(*) as products
    from {{ ref('int_products') }}
    group by category_key

),

members as (

    select
        category_key,
        category_id,
        coalesce(category_name, 'unknown') as category_name,
        subcategories,
        false as is_unknown,
        created_at
    from categories

    union all

    select
        {{ unknown_key() }} as category_key,
        null as category_id,
        'unknown' as category_name,
        0 as subcategories,
        true as is_unknown,
        null as created_at

),

joined as (

    select
        members.category_key,
        members.category_id,
        members.category_name,
        members.subcategories,
        coalesce(products.products, 0) as products,
        members.is_unknown,
        members.created_at
    from members
    left join products on members.category_key = products.category_key

)

select * from joined
