{%- set window_days = var('change_window_days') -%}

with

versions as (

    select
        *,
        lag(current_price) over (partition by product_key order by valid_from) as price_before
    from {{ ref('dim_products_history') }}
    where not is_unknown

),

lines as (

    select * from {{ ref('fct_order_details') }}
    where not is_cancelled

),

changes as (

    select
        product_key,
        'launch' as change_type,
        cast(launched_at as date) as changed_on,
        null as price_before,
        current_price as price_after
    from versions
    where version = 1 and launched_at is not null

    union all

    select
        product_key,
        'price change' as change_type,
        valid_from as changed_on,
        price_before,
        current_price as price_after
    from versions
    where version > 1 and current_price is distinct from price_before

),

sales as (

    select
        product_key,
        cast(ordered_at as date) as sold_on,
        sum(units) as units,
        sum(revenue) as revenue
    from lines
    where ordered_at is not null
    group by product_key, cast(ordered_at as date)

),

-- A sale may stand in the windows of several changes: these columns do not add up over rows.
compared as (

    select
        changes.product_key,
        changes.change_type,
        changes.changed_on,
        changes.price_before,
        changes.price_after,
        sum(case when sales.sold_on < changes.changed_on then sales.units end) as units_before,
        sum(case when sales.sold_on >= changes.changed_on then sales.units end) as units_after,
        sum(case when sales.sold_on < changes.changed_on then sales.revenue end) as revenue_before,
        sum(case when sales.sold_on >= changes.changed_on then sales.revenue end) as revenue_after
    from changes
    left join sales
        on
            changes.product_key = sales.product_key
            and sales.sold_on >= changes.changed_on - {{ window_days }}
            and sales.sold_on < changes.changed_on + {{ window_days }}
    group by all

),

described as (

    select
        product_key,
        change_type,
        changed_on,
        case when change_type = 'launch' then 1 else 0 end as launches,
        case when change_type = 'price change' then 1 else 0 end as price_changes,
        cast(price_before as decimal(18, 2)) as price_before,
        price_after,
        cast(price_after - price_before as decimal(18, 2)) as price_difference,
        {{ ratio('price_after - price_before', 'price_before', 4) }} as price_change_rate,
        cast(coalesce(units_before, 0) as bigint) as units_before,
        cast(coalesce(units_after, 0) as bigint) as units_after,
        cast(coalesce(revenue_before, 0) as decimal(18, 2)) as revenue_before,
        cast(coalesce(revenue_after, 0) as decimal(18, 2)) as revenue_after,
        changed_on + {{ window_days }} - 1 <= {{ as_of() }} as is_window_whole
    from compared

)

select * from described
