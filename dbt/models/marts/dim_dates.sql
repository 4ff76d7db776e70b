with

order_items as (

    select * from {{ ref('int_order_items') }}

),

interactions as (

    select * from {{ ref('int_interactions') }}

),

reviews as (

    select * from {{ ref('int_reviews') }}

),

customers as (

    select * from {{ ref('int_customers') }}

),

spans as (

    select
        min(ordered_at) as first_at,
        max(ordered_at) as last_at
    from order_items

    union all

    select
        min(occurred_at) as first_at,
        max(occurred_at) as last_at
    from interactions

    union all

    select
        min(reviewed_at) as first_at,
        max(reviewed_at) as last_at
    from reviews

    union all

    select
        min(signed_up_at) as first_at,
        max(signed_up_at) as last_at
    from customers

    union all

    select
        cast({{ as_of() }} as timestamp) as first_at,
        cast({{ as_of() }} as timestamp) as last_at

),

days as (

    select cast(unnest(generate_series(
        (select cast(min(first_at) as date) from spans),
        (select cast(max(last_at) as date) from spans),
        interval 1 day
    )) as date) as date_day

),

parts as (

    select
        date_day,
        year(date_day) as calendar_year,
        month(date_day) as month_of_year,
        day(date_day) as day_of_month,
        isodow(date_day) as day_of_week,
        -- The number of the weekday in the month, 1 for the first Monday, and whether it is the last one.
        (day(date_day) - 1) // 7 + 1 as nth_weekday,
        day(date_day) + 7 > day(last_day(date_day)) as is_last_weekday
    from days

),

-- Holidays of the United States on their statutory days, without the Mondays and Fridays observed instead.
named as (

    select
        *,
        case
            when month_of_year = 1 and day_of_month = 1 then 'New Year''s Day'
            when month_of_year = 1 and day_of_week = 1 and nth_weekday = 3 then 'Martin Luther King Jr. Day'
            when month_of_year = 2 and day_of_week = 1 and nth_weekday = 3 then 'Washington''s Birthday'
            when month_of_year = 5 and day_of_week = 1 and is_last_weekday then 'Memorial Day'
            when month_of_year = 6 and day_of_month = 19 and calendar_year >= 2021
                then 'Juneteenth National Independence Day'
            when month_of_year = 7 and day_of_month = 4 then 'Independence Day'
            when month_of_year = 9 and day_of_week = 1 and nth_weekday = 1 then 'Labor Day'
            when month_of_year = 10 and day_of_week = 1 and nth_weekday = 2 then 'Columbus Day'
            when month_of_year = 11 and day_of_month = 11 then 'Veterans Day'
            when month_of_year = 11 and day_of_week = 4 and nth_weekday = 4 then 'Thanksgiving Day'
            when month_of_year = 12 and day_of_month = 25 then 'Christmas Day'
        end as holiday_name,
        case
            -- The day after the fourth Thursday is a Friday from the 23rd to the 29th.
            when month_of_year = 11 and day_of_week = 5 and day_of_month between 23 and 29 then 'Black Friday'
            when day_of_week = 1
                and (
                    (month_of_year = 11 and day_of_month between 26 and 30)
                    or (month_of_year = 12 and day_of_month between 1 and 2)
                ) then 'Cyber Monday'
        end as shopping_day_name
    from parts

),

described as (

    select
        cast(strftime(date_day, '%Y%m%d') as integer) as date_key,
        date_day,
        cast(day_of_week as integer) as day_of_week,
        dayname(date_day) as day_name,
        cast(day_of_month as integer) as day_of_month,
        cast(dayofyear(date_day) as integer) as day_of_year,
        cast(date_trunc('week', date_day) as date) as week_start,
        cast(week(date_day) as integer) as week_of_year,
        cast(date_trunc('month', date_day) as date) as month_start,
        cast(month_of_year as integer) as month_of_year,
        monthname(date_day) as month_name,
        cast(date_trunc('quarter', date_day) as date) as quarter_start,
        cast(quarter(date_day) as integer) as quarter_of_year,
        cast(calendar_year as integer) as calendar_year,
        day_of_week >= 6 as is_weekend,
        holiday_name is not null as is_holiday,
        holiday_name,
        shopping_day_name,
        false as is_unknown
    from named

),

unknown as (

    select
        0 as date_key,
        null as date_day,
        null as day_of_week,
        'unknown' as day_name,
        null as day_of_month,
        null as day_of_year,
        null as week_start,
        null as week_of_year,
        null as month_start,
        null as month_of_year,
        'unknown' as month_name,
        null as quarter_start,
        null as quarter_of_year,
        null as calendar_year,
        false as is_weekend,
        false as is_holiday,
        null as holiday_name,
        null as shopping_day_name,
        true as is_unknown

)

select * from described

union all

select * from unknown
