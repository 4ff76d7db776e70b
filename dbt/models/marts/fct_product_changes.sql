with

versions as (

    select
        *,
        lag(current_price) over (partition by product_key order by valid_from) as price_before,
        -- From the newest record: a source may state or correct the launch after the first price.
        last_value(launched_at) over (
            partition by product_key order by valid_from
            rows between unbounded preceding and unbounded following
        ) as newest_launched_at
    from {{ ref('dim_products_history') }}
    where not is_unknown

),

changes as (

    select
        product_key,
        'launch' as change_type,
        newest_launched_at as changed_at,
        null as price_before,
        current_price as price_after
    from versions
    where version = 1 and newest_launched_at is not null

    union all

    -- A change from or to an unknown price counts as well.
    select
        product_key,
        'price change' as change_type,
        valid_from as changed_at,
        price_before,
        current_price as price_after
    from versions
    where version > 1 and current_price is distinct from price_before

),

described as (

    select
        product_key,
        change_type,
        changed_at,
        case when change_type = 'launch' then 1 else 0 end as launches,
        case when change_type = 'price change' then 1 else 0 end as price_changes,
        cast(price_before as decimal(18, 2)) as price_before,
        price_after,
        cast(price_after - price_before as decimal(18, 2)) as price_difference,
        {{ ratio('price_after - price_before', 'price_before', 4) }} as price_change_rate
    from changes

)

select * from described
