with

lines as (

    select * from {{ ref('fct_order_details') }}
    where not is_cancelled and not is_credit_line

),

subcategories as (

    select * from {{ ref('int_subcategories') }}

),

-- A product whose subcategory has no record counts as without a known subcategory.
products as (

    select
        products.product_key,
        subcategories.subcategory_id,
        subcategories.subcategory_name
    from {{ ref('int_products') }} as products
    inner join subcategories on products.subcategory_id = subcategories.subcategory_id

),

-- One row per basket and subcategory, however many lines the basket has in it.
baskets as (

    select
        lines.order_key,
        products.subcategory_id
    from lines
    inner join products on lines.product_key = products.product_key
    group by lines.order_key, products.subcategory_id

),

totals as (

    select count(distinct order_key) as baskets from baskets

),

singles as (

    select
        subcategory_id,
        count(*) as orders
    from baskets
    group by subcategory_id

),

pairs as (

    select
        one.subcategory_id as subcategory_id_a,
        other.subcategory_id as subcategory_id_b,
        count(*) as orders_with_both
    from baskets as one
    inner join baskets as other on one.order_key = other.order_key and one.subcategory_id < other.subcategory_id
    group by one.subcategory_id, other.subcategory_id

),

described as (

    select
        pairs.subcategory_id_a,
        pairs.subcategory_id_b,
        coalesce(names_a.subcategory_name, 'unknown') as subcategory_name_a,
        coalesce(names_b.subcategory_name, 'unknown') as subcategory_name_b,
        totals.baskets,
        singles_a.orders as orders_with_a,
        singles_b.orders as orders_with_b,
        pairs.orders_with_both,
        {{ ratio('pairs.orders_with_both', 'totals.baskets', 6) }} as support,
        {{ ratio('pairs.orders_with_both', 'singles_a.orders', 4) }} as confidence_a_to_b,
        {{ ratio('pairs.orders_with_both', 'singles_b.orders', 4) }} as confidence_b_to_a,
        {{ ratio(
            'cast(pairs.orders_with_both as hugeint) * totals.baskets',
            'cast(singles_a.orders as hugeint) * singles_b.orders',
            4
        ) }} as lift
    from pairs
    inner join singles as singles_a on pairs.subcategory_id_a = singles_a.subcategory_id
    inner join singles as singles_b on pairs.subcategory_id_b = singles_b.subcategory_id
    inner join subcategories as names_a on pairs.subcategory_id_a = names_a.subcategory_id
    inner join subcategories as names_b on pairs.subcategory_id_b = names_b.subcategory_id
    cross join totals

)

select * from described
