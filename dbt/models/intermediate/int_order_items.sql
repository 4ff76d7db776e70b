{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='order_id',
    pre_hook='{{ write_down(affected_orders(this)) }}', post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_orders') }}, {{ ref('base_order_items') }}, {{ ref('stg_batches') }}
-- depends_on: {{ ref('base_customers') }}, {{ ref('base_products') }}
with

orders as (

    select * from {{ ref('stg_orders') }}
    {%- if is_incremental() %}
    where order_id in (select affected.order_id from {{ written_down() }} as affected)
    {%- endif %}

),

items as (

    select * from {{ ref('stg_order_items') }}
    {%- if is_incremental() %}
    where order_id in (select affected.order_id from {{ written_down() }} as affected)
    {%- endif %}

),

product_versions as (

    select * from {{ ref('int_product_versions') }}

),

customer_versions as (

    select * from {{ ref('int_customer_versions') }}

),

-- Items with their orders, orders without items as one line each, and items without a known order.
lines as (

    select
        coalesce(items.order_id, orders.order_id) as order_id,
        items.order_item_id,
        items.product_id,
        orders.customer_id,
        orders.status,
        orders.order_id is not null as is_order_known,
        items.order_item_id is null as is_order_without_items,
        coalesce(orders.order_date, orders.created_at) as ordered_at,
        coalesce(items.quantity, 0) as quantity,
        items.unit_price,
        {{ line_amount('items') }} as line_amount,
        {{ is_credit_line('items.quantity', line_amount('items')) }} as is_credit_line,
        coalesce(items.discount_amount, 0) as item_discount_amount,
        orders.discount_amount as discount_of_order,
        coalesce(orders.shipping_cost, 0) as order_shipping_amount,
        coalesce(items.refund_amount, 0) as item_refund_amount,
        items.returned_at,
        items.created_at
    from orders
    full outer join items on orders.order_id = items.order_id

),

-- A return on its own line counts like a return in the columns of the line that it takes back: as units returned and
-- money refunded. The units sold are on the other lines.
sorted as (

    select
        * exclude (quantity, line_amount, ordered_at, returned_at, created_at),
        coalesce(ordered_at, min(created_at) over (partition by order_id)) as ordered_at,
        case when is_credit_line then 0 else quantity end as units,
        case
            when is_credit_line then greatest(-cast(quantity as bigint), 0)
            when returned_at is not null then quantity
            else 0
        end as returned_units,
        cast(case when is_credit_line then 0 else line_amount end as decimal(18, 2)) as gross_amount,
        cast(case when is_credit_line then -line_amount else 0 end as decimal(18, 2)) as credit_amount,
        cast(
            {{ discount_of_items('item_discount_amount', 'is_credit_line', over='over (partition by order_id)') }}
            as decimal(18, 2)
        ) as discount_of_items,
        -- A credit line has no share in the amounts of an order that also sells.
        case
            when not is_credit_line or bool_and(is_credit_line) over (partition by order_id) then line_amount
        end as share_weight,
        coalesce(returned_at, case when is_credit_line then created_at end) as returned_at
    from lines

),

-- Only the order's discount beyond those of its items is allocated; if the items' discounts are at least as large,
-- nothing is.
with_further_discount as (

    select
        * exclude (discount_of_items, discount_of_order),
        cast(
            case
                when discount_of_order > 0 and discount_of_order > discount_of_items
                    then discount_of_order - discount_of_items
                when discount_of_order < 0 and discount_of_order < discount_of_items
                    then discount_of_order - discount_of_items
                else 0
            end as decimal(18, 2)
        ) as order_discount_amount
    from sorted

),

with_discount as (

    {{ largest_remainder(
        'with_further_discount',
        amount='order_discount_amount',
        weight='share_weight',
        partition_by='order_id',
        order_by='order_item_id',
        share='allocated_discount_amount'
    ) }}

),

with_shipping as (

    {{ largest_remainder(
        'with_discount',
        amount='order_shipping_amount',
        weight='share_weight',
        partition_by='order_id',
        order_by='order_item_id',
        share='shipping_amount'
    ) }}

),

with_net as (

    select
        *,
        cast(item_discount_amount + allocated_discount_amount as decimal(18, 2)) as discount_amount,
        cast(gross_amount - item_discount_amount - allocated_discount_amount as decimal(18, 2)) as net_amount,
        {{ is_cancelled('status') }} as is_cancelled,
        -- The lines of a refunded order may state the amount; if none does, all of it was refunded.
        {{ is_refunded('status') }}
        and sum(abs(item_refund_amount) + abs(credit_amount)) over (partition by order_id) = 0 as is_refunded_whole
    from with_shipping

),

valued as (

    select
        *,
        cast(
            case when is_refunded_whole then net_amount else item_refund_amount + credit_amount end as decimal(18, 2)
        ) as refund_amount
    from with_net

),

-- The one definition of revenue, which every mart sums. docs/decisions.md gives the reasons.
defined as (

    select
        ---------- ids
        {{ surrogate_key(['valued.order_id', 'valued.order_item_id']) }} as order_line_key,
        valued.order_id,
        valued.order_item_id,
        coalesce(customer_versions.customer_key, {{ unknown_key() }}) as customer_key,
        coalesce(customer_versions.customer_version_key, {{ unknown_key() }}) as customer_version_key,
        valued.customer_id,
        coalesce(product_versions.product_key, {{ unknown_key() }}) as product_key,
        coalesce(product_versions.product_version_key, {{ unknown_key() }}) as product_version_key,
        valued.product_id,

        ---------- text
        valued.status,

        ---------- numerics
        valued.units,
        valued.unit_price,
        case when {{ has_cost('greatest(valued.units, valued.returned_units)', 'product_versions.cost') }}
                then product_versions.cost
        end as unit_cost,
        valued.gross_amount,
        valued.discount_amount,
        valued.net_amount,
        valued.shipping_amount,
        case when valued.is_cancelled then valued.net_amount else 0 end as cancelled_amount,
        valued.refund_amount,
        valued.credit_amount,
        case
            when valued.is_cancelled then 0
            else cast(valued.net_amount - valued.refund_amount as decimal(18, 2))
        end as revenue,
        valued.returned_units,
        -- Units kept by the customer, at the cost of the product at the time of the order.
        case
            when valued.is_cancelled or unit_cost is null then 0
            else cast({{ times('(valued.units - valued.returned_units)', 'unit_cost') }} as decimal(18, 2))
        end as cost_amount,
        case
            when valued.is_cancelled or unit_cost is not null then 0
            else abs(valued.units - valued.returned_units)
        end as uncosted_units,

        ---------- booleans
        valued.is_cancelled,
        valued.returned_at is not null as is_returned,
        valued.is_credit_line,
        valued.is_order_known,
        valued.is_order_without_items,

        ---------- timestamps
        valued.ordered_at,
        valued.returned_at

    from valued
    -- Only one version of a customer and of a product is valid at a time, so the joins do not multiply rows.
    left join customer_versions
        on
            valued.customer_id = customer_versions.customer_id
            and {{ valid_at('customer_versions', 'valued.ordered_at') }}
    left join product_versions
        on
            valued.product_id = product_versions.product_id
            and {{ valid_at('product_versions', 'valued.ordered_at') }}

)

select
    *,
    -- The margin is null unless the cost of every unit is known.
    case when uncosted_units = 0 then cast(revenue - cost_amount as decimal(18, 2)) end as margin_amount
from defined
