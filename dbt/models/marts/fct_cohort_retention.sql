with

orders as not materialized (

    select * from {{ ref('fct_customer_orders') }}

),

first_orders as (

    select
        customer_key,
        min({{ month_key('ordered_at') }}) as cohort_month_key
    from orders
    where ordered_at is not null and customer_key <> {{ unknown_key() }}
    group by customer_key

),

-- Orders with an unknown customer or day belong to no cohort: they are in cohort 0.
placed as (

    select
        orders.customer_key,
        orders.orders,
        orders.cancelled_orders,
        orders.net_amount,
        orders.revenue,
        case when orders.ordered_at is not null then coalesce(first_orders.cohort_month_key, 0) else 0 end
            as cohort_month_key,
        {{ month_key('orders.ordered_at') }} as month_key
    from orders
    left join first_orders on orders.customer_key = first_orders.customer_key

),

aged as (

    select
        *,
        case
            when cohort_month_key > 0
                then date_diff('month', {{ month_start('cohort_month_key') }}, {{ month_start('month_key') }})
            else 0
        end as months_since_first_order
    from placed

),

activity as (

    select
        cohort_month_key,
        months_since_first_order,
        count(distinct customer_key) filter (where cohort_month_key > 0) as active_customers,
        sum(orders) as orders,
        sum(cancelled_orders) as cancelled_orders,
        sum(net_amount) as net_amount,
        sum(revenue) as revenue
    from aged
    group by cohort_month_key, months_since_first_order

),

cohorts as (

    select
        cohort_month_key,
        count(*) as cohort_customers
    from first_orders
    group by cohort_month_key

),

-- Include months without an order, with zeros; without them the retention of later months would be too high.
months as (

    select
        cohort_month_key,
        unnest(generate_series(
            0, greatest(date_diff('month', {{ month_start('cohort_month_key') }}, {{ as_of() }}), 0)
        )) as months_since_first_order
    from cohorts

),

joined as (

    select
        coalesce(months.cohort_month_key, activity.cohort_month_key) as cohort_month_key,
        cast(
            coalesce(months.months_since_first_order, activity.months_since_first_order) as integer
        ) as months_since_first_order,
        coalesce(activity.active_customers, 0) as active_customers,
        cast(coalesce(activity.orders, 0) as bigint) as orders,
        cast(coalesce(activity.cancelled_orders, 0) as bigint) as cancelled_orders,
        cast(coalesce(activity.net_amount, 0) as decimal(18, 2)) as net_amount,
        cast(coalesce(activity.revenue, 0) as decimal(18, 2)) as revenue
    from months
    full outer join activity
        on
            months.cohort_month_key = activity.cohort_month_key
            and months.months_since_first_order = activity.months_since_first_order

),

measured as (

    select
        joined.*,
        coalesce(cohorts.cohort_customers, 0) as cohort_customers,
        {{ month_start('joined.cohort_month_key') }} as cohort_month_start,
        cast(
            {{ month_start('joined.cohort_month_key') }} + to_months(joined.months_since_first_order) as date
        ) as month_start,
        sum(joined.revenue) over (
            partition by joined.cohort_month_key
            order by joined.months_since_first_order
            rows between unbounded preceding and current row
        ) as cumulative_revenue
    from joined
    left join cohorts on joined.cohort_month_key = cohorts.cohort_month_key

),

described as (

    select
        cohort_month_key,
        months_since_first_order,
        cohort_month_start,
        month_start,
        cohort_customers,
        active_customers,
        orders,
        cancelled_orders,
        net_amount,
        revenue,
        {{ ratio('active_customers', 'cohort_customers', 4) }} as retention_rate,
        cast(cumulative_revenue as decimal(18, 2)) as cumulative_revenue,
        {{ ratio('cumulative_revenue', 'cohort_customers') }} as cumulative_revenue_per_customer,
        coalesce(last_day(month_start) <= {{ as_of() }}, false) as is_whole_month
    from measured

)

select * from described
