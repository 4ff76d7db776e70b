{%- set window_days = var('cover_window_days') -%}

with

products as (

    select * from {{ ref('dim_products') }}

),

lines as (

    select * from {{ ref('fct_order_details') }}
    where not is_cancelled

),

demand as (

    select
        product_key,
        max(cast(ordered_at as date)) as last_sold_on,
        sum(
            case
                when cast(ordered_at as date) > {{ as_of() }} - {{ window_days }}
                    and cast(ordered_at as date) <= {{ as_of() }}
                    then units
            end
        ) as recent_units
    from lines
    where units > 0
    group by product_key

),

-- A product launched within the window is averaged over its age.
observed as (

    select
        products.*,
        coalesce(demand.recent_units, 0) as recent_units,
        demand.last_sold_on,
        greatest(
            least({{ window_days }}, coalesce(
                date_diff('day', cast(products.launched_at as date), {{ as_of() }}) + 1, {{ window_days }}
            )),
            1
        ) as days_observed
    from products
    left join demand on products.product_key = demand.product_key

),

covered as (

    select
        ---------- ids
        product_key,
        category_key,

        ---------- numerics
        stock_quantity,
        case
            when {{ has_cost('stock_quantity', 'cost') }}
                then cast({{ times('stock_quantity', 'cost') }} as decimal(18, 2))
        end as stock_value,
        cast(recent_units as bigint) as recent_units,
        cast(days_observed as integer) as days_observed,
        {{ ratio('recent_units', 'days_observed', 4) }} as units_per_day,
        cast(
            case when stock_quantity < 0 then 0 else stock_quantity end
            * days_observed // nullif(recent_units, 0) as bigint
        ) as days_of_cover,

        ---------- booleans and dates
        is_active,
        last_sold_on

    from observed

),

described as (

    select
        product_key,
        category_key,
        {{ cover_status() }} as cover_status,
        stock_quantity,
        stock_value,
        recent_units,
        days_observed,
        units_per_day,
        days_of_cover,
        is_active,
        last_sold_on
    from covered

)

select * from described
