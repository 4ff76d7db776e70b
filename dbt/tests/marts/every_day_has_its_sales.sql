-- Days without an order are in fct_sales_by_date too, or a chart would have gaps.
select dates.date_key
from {{ ref('dim_dates') }} as dates
left join {{ ref('fct_sales_by_date') }} as sales on dates.date_key = sales.date_key
where sales.date_key is null
