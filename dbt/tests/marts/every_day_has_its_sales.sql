-- fct_sales_by_date has days without an order too, so that charts have no gaps.
select dates.date_key
from {{ ref('dim_dates') }} as dates
left join {{ ref('fct_sales_by_date') }} as sales on dates.date_key = sales.date_key
where sales.date_key is null
