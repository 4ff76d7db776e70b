with

subcategories as (

    select * from {{ ref('stg_subcategories') }}

),

categories as (

    select * from {{ ref('int_categories') }}

),

joined as (

    select
        subcategories.subcategory_id,
        subcategories.subcategory_name,
        coalesce(categories.category_key, {{ unknown_key() }}) as category_key,
        subcategories.category_id,
        categories.category_name,
        subcategories.created_at
    from subcategories
    left join categories on subcategories.category_id = categories.category_id

)

select * from joined
