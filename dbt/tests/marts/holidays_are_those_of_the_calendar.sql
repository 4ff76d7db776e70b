-- Holidays and shopping days of three years, from the calendar rather than a rule. No other day has a name.
with

calendar as (

    select * from (
        values
        ('New Year''s Day', date '2024-01-01'),
        ('New Year''s Day', date '2025-01-01'),
        ('New Year''s Day', date '2026-01-01'),
        ('Martin Luther King Jr. Day', date '2024-01-15'),
        ('Martin Luther King Jr. Day', date '2025-01-20'),
        ('Martin Luther King Jr. Day', date '2026-01-19'),
        ('Washington''s Birthday', date '2024-02-19'),
        ('Washington''s Birthday', date '2025-02-17'),
        ('Washington''s Birthday', date '2026-02-16'),
        ('Memorial Day', date '2024-05-27'),
        ('Memorial Day', date '2025-05-26'),
        ('Memorial Day', date '2026-05-25'),
        ('Juneteenth National Independence Day', date '2024-06-19'),
        ('Juneteenth National Independence Day', date '2025-06-19'),
        ('Juneteenth National Independence Day', date '2026-06-19'),
        ('Independence Day', date '2024-07-04'),
        ('Independence Day', date '2025-07-04'),
        ('Independence Day', date '2026-07-04'),
        ('Labor Day', date '2024-09-02'),
        ('Labor Day', date '2025-09-01'),
        ('Labor Day', date '2026-09-07'),
        ('Columbus Day', date '2024-10-14'),
        ('Columbus Day', date '2025-10-13'),
        ('Columbus Day', date '2026-10-12'),
        ('Veterans Day', date '2024-11-11'),
        ('Veterans Day', date '2025-11-11'),
        ('Veterans Day', date '2026-11-11'),
        ('Thanksgiving Day', date '2024-11-28'),
        ('Thanksgiving Day', date '2025-11-27'),
        ('Thanksgiving Day', date '2026-11-26'),
        ('Black Friday', date '2024-11-29'),
        ('Black Friday', date '2025-11-28'),
        ('Black Friday', date '2026-11-27'),
        ('Cyber Monday', date '2024-12-02'),
        ('Cyber Monday', date '2025-12-01'),
        ('Cyber Monday', date '2026-11-30'),
        ('Christmas Day', date '2024-12-25'),
        ('Christmas Day', date '2025-12-25'),
        ('Christmas Day', date '2026-12-25')
    ) as calendar (day_name, date_day)

),

dates as (

    select
        date_day,
        coalesce(holiday_name, shopping_day_name) as day_name
    from {{ ref('dim_dates') }}
    where calendar_year between 2024 and 2026

)

select
    dates.date_day,
    dates.day_name,
    calendar.day_name as day_name_of_the_calendar
from dates
left join calendar on dates.date_day = calendar.date_day
where dates.day_name is distinct from calendar.day_name
