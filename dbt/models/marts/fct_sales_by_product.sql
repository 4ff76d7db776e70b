with

lines as (

    select * from {{ ref('fct_order_details') }}

),

sums as (

    select
        product_key,
        {{ month_key('ordered_at') }} as month_key,
        -- An order counts once per product in it, so this column is not additive over products.
        count(distinct case when order_lines > 0 and not is_credit_line then order_key end) as orders_with_product,
        cast(sum(order_lines) as bigint) as order_lines,
        cast(sum(units) as bigint) as units,
        cast(sum(returned_units) as bigint) as returned_units,
        cast(sum(gross_amount) as decimal(18, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(18, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(18, 2)) as net_amount,
        cast(sum(shipping_amount) as decimal(18, 2)) as shipping_amount,
        cast(sum(cancelled_amount) as decimal(18, 2)) as cancelled_amount,
        cast(sum(refund_amount) as decimal(18, 2)) as refund_amount,
        cast(sum(revenue) as decimal(18, 2)) as revenue,
        cast(sum(cost_amount) as decimal(18, 2)) as cost_amount,
        cast(sum(uncosted_units) as bigint) as uncosted_units
    from lines
    group by product_key, {{ month_key('ordered_at') }}

),

described as (

    select
        product_key,
        month_key,
        {{ month_start('month_key') }} as month_start,
        orders_with_product,
        order_lines,
        units,
        returned_units,
        gross_amount,
        discount_amount,
        net_amount,
        shipping_amount,
        cancelled_amount,
        refund_amount,
        revenue,
        cost_amount,
        uncosted_units,
        case when uncosted_units = 0 then cast(revenue - cost_amount as decimal(18, 2)) end as margin_amount,
        {{ ratio('net_amount', 'units') }} as average_unit_price,
        case when uncosted_units = 0 then {{ ratio('revenue - cost_amount', 'revenue', 4) }} end as margin_rate
    from sums

)

select * from described
