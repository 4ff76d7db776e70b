{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='order_id',
    pre_hook='{{ write_down(affected_or_readdressed_orders()) }}', post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_orders') }}, {{ ref('base_order_items') }}, {{ ref('stg_batches') }}
-- depends_on: {{ ref('base_customers') }}, {{ ref('base_products') }}
with

orders as (

    select * from {{ ref('stg_orders') }}

),

lines as (

    select * from {{ ref('int_order_items') }}
    {%- if is_incremental() %}
    where order_id in (select affected.order_id from {{ written_down() }} as affected)
    {%- endif %}

),

customer_versions as (

    select * from {{ ref('int_customer_versions') }}

),

addresses as (

    select * from {{ ref('int_addresses') }}

),

-- Orders known only from their items have a row too. The amounts have the precision of those of the lines: numbers of
-- more than 18 digits take ten times as long to read.
totals as (

    select
        order_id,
        min(ordered_at) as ordered_at,
        min(customer_key) as customer_key,
        min(customer_version_key) as customer_version_key,
        count(order_item_id) as order_lines,
        cast(sum(units) as bigint) as units,
        cast(sum(gross_amount) as decimal(18, 2)) as gross_amount,
        cast(sum(discount_amount) as decimal(18, 2)) as discount_amount,
        cast(sum(net_amount) as decimal(18, 2)) as net_amount,
        cast(sum(shipping_amount) as decimal(18, 2)) as shipping_amount,
        cast(sum(cancelled_amount) as decimal(18, 2)) as cancelled_amount,
        cast(sum(refund_amount) as decimal(18, 2)) as refund_amount,
        cast(sum(credit_amount) as decimal(18, 2)) as credit_amount,
        cast(sum(revenue) as decimal(18, 2)) as revenue,
        cast(sum(returned_units) as bigint) as returned_units
    from lines
    group by order_id

),

joined as (

    select
        ---------- ids
        {{ surrogate_key(['totals.order_id']) }} as order_key,
        totals.order_id,
        totals.customer_key,
        totals.customer_version_key,
        orders.customer_id,
        shipping.address_key as shipping_address_key,
        billing.address_key as billing_address_key,
        -- Where the order goes. If the address names no place, or only the customer's country: where the customer lived
        -- at the time of the order.
        coalesce(
            case
                when
                    {{ is_placed('shipping') }}
                    or lower(shipping.country) is distinct from lower(customer_versions.country)
                    then nullif(shipping.location_key, {{ unknown_key() }})
            end,
            customer_versions.location_key,
            {{ unknown_key() }}
        ) as location_key,

        ---------- text
        orders.status,
        orders.payment_method,

        ---------- numerics
        totals.order_lines,
        totals.units,
        totals.gross_amount,
        totals.discount_amount,
        totals.net_amount,
        totals.shipping_amount,
        totals.cancelled_amount,
        totals.refund_amount,
        totals.credit_amount,
        totals.revenue,
        totals.returned_units,
        orders.total_amount as source_total_amount,
        cast(
            orders.total_amount - (totals.net_amount - totals.credit_amount + totals.shipping_amount)
            as decimal(18, 2)
        ) as source_difference,

        ---------- booleans
        orders.order_id is not null as is_order_known,
        {{ is_cancelled('orders.status') }} as is_cancelled,
        totals.returned_units > 0 as has_returns,
        case
            when orders.delivered_at is not null and orders.promised_at is not null
                then orders.delivered_at > orders.promised_at
        end as is_late,

        ---------- timestamps
        totals.ordered_at,
        orders.promised_at,
        orders.shipped_at,
        orders.delivered_at,
        orders.updated_at

    from totals
    left join orders on totals.order_id = orders.order_id
    left join customer_versions on totals.customer_version_key = customer_versions.customer_version_key
    left join addresses as shipping on orders.shipping_address = shipping.address
    left join addresses as billing on orders.billing_address = billing.address

)

select * from joined
