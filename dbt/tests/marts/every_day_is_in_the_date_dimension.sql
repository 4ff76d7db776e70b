-- No day is missing between the first and the last.
with

days as (

    select
        min(date_day) as first_day,
        max(date_day) as last_day,
        count(date_day) as found
    from {{ ref('dim_dates') }}

)

select *
from days
where date_diff('day', first_day, last_day) + 1 <> found
