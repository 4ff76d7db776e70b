{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='order_id',
    on_schema_change='fail', pre_hook='{{ write_down(affected_or_moved_orders()) }}',
    post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_orders') }}, {{ ref('base_order_items') }}, {{ ref('stg_batches') }}
-- depends_on: {{ ref('base_customers') }}, {{ ref('base_products') }}
-- depends_on: {{ ref('int_order_items') }}
with

{% if is_incremental() -%}
-- An order that is new or has moved to another customer renumbers all orders of both customers.
affected_customers as (

    select customer_key from {{ ref('int_orders') }}
    where order_id in (select affected.order_id from {{ written_down() }} as affected)

    union all

    select customer_key from {{ this }}
    where order_id in (select affected.order_id from {{ written_down() }} as affected)

),

{% endif -%}
orders as (

    select * from {{ ref('int_orders') }}
    {%- if is_incremental() %}
    where customer_key in (select affected_customers.customer_key from affected_customers)
    {%- endif %}

),

-- The unknown customer is many customers, so its orders have no first and no previous order.
numbered as (

    select
        *,
        case
            when customer_key <> {{ unknown_key() }}
                then row_number() over (partition by customer_key order by ordered_at, order_id)
        end as customer_order_number,
        case
            when customer_key <> {{ unknown_key() }}
                then lag(ordered_at) over (partition by customer_key order by ordered_at, order_id)
        end as previous_ordered_at
    from orders

),

described as (

    select
        ---------- ids
        order_key,
        order_id,
        customer_key,
        location_key,
        {{ date_key('ordered_at') }} as date_key,

        ---------- text
        coalesce(status, 'unknown') as order_status,
        coalesce(payment_method, 'unknown') as payment_method,

        ---------- numerics
        customer_order_number,
        date_diff('day', cast(previous_ordered_at as date), cast(ordered_at as date)) as days_since_previous_order,
        1 as orders,
        case when is_cancelled then 1 else 0 end as cancelled_orders,
        order_lines,
        cast(units as bigint) as units,
        cast(returned_units as bigint) as returned_units,
        gross_amount,
        discount_amount,
        net_amount,
        shipping_amount,
        cancelled_amount,
        refund_amount,
        credit_amount,
        revenue,
        source_total_amount,
        source_difference,

        ---------- booleans
        coalesce(customer_order_number = 1, false) as is_first_order,
        is_cancelled,
        has_returns,
        is_late,
        is_order_known,

        ---------- timestamps
        ordered_at,
        promised_at,
        shipped_at,
        delivered_at

    from numbered

)

select * from described
