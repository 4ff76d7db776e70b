with

orders as (

    select * from {{ ref('fct_customer_orders') }}

),

locations as (

    select * from {{ ref('dim_locations') }}

),

timed as (

    select
        *,
        date_diff('day', cast(ordered_at as date), cast(shipped_at as date)) as days_to_ship,
        date_diff('day', cast(ordered_at as date), cast(delivered_at as date)) as days_to_deliver,
        -- As of the last day of the data, not the day of the build.
        not is_cancelled and delivered_at is null and cast(promised_at as date) < {{ as_of() }} as is_overdue
    from orders

),

sums as (

    select
        {{ month_key('timed.ordered_at') }} as month_key,
        locations.country,
        locations.state,
        cast(sum(timed.orders) as bigint) as orders,
        cast(sum(timed.cancelled_orders) as bigint) as cancelled_orders,
        count(timed.shipped_at) as shipped_orders,
        count(timed.delivered_at) as delivered_orders,
        count(timed.is_late) as promised_deliveries,
        count(*) filter (where timed.is_late) as late_deliveries,
        count(*) filter (where timed.is_overdue) as overdue_orders,
        count(*) filter (where timed.has_returns) as returned_orders,
        count(timed.days_to_ship) as timed_shipments,
        cast(coalesce(sum(timed.days_to_ship), 0) as bigint) as days_to_ship,
        count(timed.days_to_deliver) as timed_deliveries,
        cast(coalesce(sum(timed.days_to_deliver), 0) as bigint) as days_to_deliver,
        cast(sum(timed.units) as bigint) as units,
        cast(sum(timed.returned_units) as bigint) as returned_units,
        cast(sum(timed.refund_amount) as decimal(18, 2)) as refund_amount
    from timed
    inner join locations on timed.location_key = locations.location_key
    group by {{ month_key('timed.ordered_at') }}, locations.country, locations.state

),

described as (

    select
        month_key,
        country,
        state,
        {{ month_start('month_key') }} as month_start,
        orders,
        cancelled_orders,
        shipped_orders,
        delivered_orders,
        promised_deliveries,
        late_deliveries,
        overdue_orders,
        returned_orders,
        timed_shipments,
        days_to_ship,
        timed_deliveries,
        days_to_deliver,
        units,
        returned_units,
        refund_amount,
        {{ ratio('cancelled_orders', 'orders', 4) }} as cancellation_rate,
        {{ ratio('late_deliveries', 'promised_deliveries', 4) }} as late_rate,
        {{ ratio('returned_units', 'units', 4) }} as return_rate,
        {{ ratio('days_to_ship', 'timed_shipments') }} as average_days_to_ship,
        {{ ratio('days_to_deliver', 'timed_deliveries') }} as average_days_to_deliver
    from sums

)

select * from described
