{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='order_id',
    on_schema_change='fail', pre_hook='{{ write_down(affected_or_moved_orders()) }}',
    post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_orders') }}, {{ ref('base_order_items') }}, {{ ref('stg_batches') }}
-- depends_on: {{ ref('base_customers') }}, {{ ref('base_products') }}
with

lines as (

    select * from {{ ref('int_order_items') }}
    {%- if is_incremental() %}
    where order_id in (select affected.order_id from {{ written_down() }} as affected)
    {%- endif %}

),

orders as (

    select * from {{ ref('int_orders') }}

),

joined as (

    select
        ---------- ids
        lines.order_line_key,
        orders.order_key,
        lines.order_id,
        lines.order_item_id,
        lines.customer_key,
        lines.customer_version_key,
        lines.product_key,
        lines.product_version_key,
        orders.location_key,
        {{ date_key('lines.ordered_at') }} as date_key,

        ---------- text
        coalesce(lines.status, 'unknown') as order_status,
        coalesce(orders.payment_method, 'unknown') as payment_method,

        ---------- numerics
        case when lines.is_order_without_items then 0 else 1 end as order_lines,
        lines.units,
        lines.returned_units,
        lines.unit_price,
        lines.unit_cost,
        lines.gross_amount,
        lines.discount_amount,
        lines.net_amount,
        lines.shipping_amount,
        lines.cancelled_amount,
        lines.refund_amount,
        lines.credit_amount,
        lines.revenue,
        lines.cost_amount,
        lines.uncosted_units,
        lines.margin_amount,

        ---------- booleans
        lines.is_cancelled,
        lines.is_returned,
        lines.is_credit_line,
        lines.is_order_known,
        lines.is_order_without_items,

        ---------- timestamps
        lines.ordered_at,
        lines.returned_at

    from lines
    inner join orders on lines.order_id = orders.order_id

)

select * from joined
