"""Queries of the figures that `duckbook.store.realism` measures, on the tables that it names."""

SESSIONS = """
    select
        session_id,
        any_value(device_type) as device,
        count(*) filter (where event_type = 'cart_add') > 0 as fills,
        count(*) filter (where event_type = 'purchase') > 0 as buys
    from interactions
    group by session_id
"""

SPEND = """
    select orders.customer_id, sum(order_items.total_price)::double as spend
    from orders
    join order_items using (order_id)
    join customers using (customer_id)
    where customers.signup_date < (select max(order_date) from orders) - interval 78 week
    group by orders.customer_id
"""

STARS = """
    select avg(review_score) from reviews join orders using (order_id)
    where (orders.delivered_at > orders.promised_at) = {late}
"""

DAYS = "select order_date::date as day, count(*) as orders from orders group by day"

PAIRS = """
    with lines as (
        select order_items.order_id, subcategories.subcategory_name as name
        from order_items
        join products using (product_id)
        join subcategories on products.subcategory_id = subcategories.subcategory_id
        group by all
    ),
    baskets as (select order_id from lines group by order_id having count(*) > 1),
    shares as (
        select name, count(*) / (select count(*) from baskets) as share
        from lines join baskets using (order_id) group by name
    ),
    pairs as (
        select one.name as one, other.name as other, count(*) as together,
            count(*) / (select count(*) from baskets) / any_value(a.share) / any_value(b.share) as lift
        from lines as one
        join lines as other on one.order_id = other.order_id and one.name < other.name
        join shares as a on one.name = a.name
        join shares as b on other.name = b.name
        group by one.name, other.name
    ),
    known as (
        select pairs.*, affinities.weight is not null as planted
        from pairs
        left join affinities
            on least(affinities.subcategory, affinities.other) = pairs.one
            and greatest(affinities.subcategory, affinities.other) = pairs.other
    )
"""

PROMOTIONS = """
    with sold as (
        select product_id, date_trunc('week', created_at)::date as week, sum(quantity) as units
        from order_items group by all
    ),
    viewed as (
        select product_id, date_trunc('week', event_date)::date as week, count(*) as views
        from interactions where event_type = 'view' and order_id is null group by all
    ),
    weeks as (
        select
            sale_price < 0.99 * base_price as promoted, sale_price / base_price as relative,
            coalesce(units, 0) as units, coalesce(views, 0) as views
        from prices left join sold using (product_id, week) left join viewed using (product_id, week)
    ),
    kinds as (
        select promoted, sum(units) / sum(views) as units_a_view, sum(views * ln(relative)) / sum(views) as log_price
        from weeks group by promoted
    )
"""

ZIPF = """
    with sold as (select product_id, sum(quantity)::double as units from order_items group by product_id),
    ranked as (select units, row_number() over (order by units desc) as place from sold)
    select -regr_slope(ln(units), ln(place)) from ranked where place <= (select count(*) / 3 from products)
"""

GINI = f"""
    with ranked as (
        select spend, row_number() over (order by spend) as place, count(*) over () as n from ({SPEND})
    )
    select sum((2 * place - n - 1) * spend) / (max(n) * sum(spend)) from ranked
"""

TOP_FIFTH = f"""
    with ranked as (select spend, percent_rank() over (order by spend) as place from ({SPEND}))
    select sum(spend) filter (where place > 0.8) / sum(spend) from ranked
"""

ONCE = """
    with numbered as (
        select customer_id, order_date, row_number() over (partition by customer_id order by order_id) as number
        from orders
    ),
    buyers as (
        select customer_id, min(order_date) as first, min(order_date) filter (where number = 2) as again
        from numbered group by customer_id
    )
    select avg((again is null or again > first + interval 39 week)::int) from buyers
    where first < (select max(order_date) from orders) - interval 39 week
"""

RETURNED = """
    select sum(total_price) filter (where returned_at is not null)::double / sum(total_price)
    from order_items join orders using (order_id) where delivered_at is not null
"""

JANUARY = """
    select count(*) filter (where month(returned_at) = 1) * 12 / count(*)
    from order_items where returned_at is not null
"""

BLACK_FRIDAY = f"""
    select avg(orders) filter (where month(day) = 11 and dayofweek(day) = 5 and day(day) between 23 and 29)
        / avg(orders)
    from ({DAYS})
"""

MONDAY = f"""
    select sum(orders) filter (where dayofweek(day) = 1) / sum(orders) filter (where dayofweek(day) = 6)
    from ({DAYS}) where not (month(day) = 11 and day(day) > 20)
"""

DEVICES = f"""
    select avg(buys::int) filter (where device = 'desktop') / avg(buys::int) filter (where device = 'mobile')
    from ({SESSIONS})
"""

CART_ADDS = """
    select count(*) filter (where event_type = 'cart_add') / count(*) filter (where event_type = 'purchase')
    from interactions
"""

ELASTICITY = f"""
    {PROMOTIONS}
    select
        ln(max(units_a_view) filter (where promoted) / max(units_a_view) filter (where not promoted))
        / max(log_price) filter (where promoted)
    from kinds
"""

PLANTED = f"""
    {PAIRS}
    select avg(planted::int)
    from (select planted from known where together >= 12 order by lift desc, one, other limit 20)
"""

FIVE_STARS = "select avg((review_score = 5)::int) from reviews"

ONE_STAR = "select count(*) filter (where review_score = 1) / count(*) filter (where review_score = 2) from reviews"

LATE = "select avg((delivered_at > promised_at)::int) from orders where delivered_at is not null"

STEADY = f"""
    with days as (
        select session_id, min(event_date) as began from interactions group by session_id
    ),
    opened as (select min(began) + interval 91 day as opened, max(began) as ended from days)
    select avg(buys::int) filter (where began > ended - interval 1 year)
        / avg(buys::int) filter (where began <= opened + interval 1 year)
    from ({SESSIONS}) join days using (session_id), opened
    where began > opened
"""

EDUCATED = """
    select median(annual_income) filter (where education = 'bachelor')
        / median(annual_income) filter (where education = 'high school')
    from customers
"""

AGED = """
    select median(annual_income) filter (where age between 45 and 54) / median(annual_income) filter (where age < 25)
    from customers
"""

SHIPPED_OFF_HOURS = """
    select avg((hour(local) not between 8 and 17 or dayofweek(local) = 0
        or strftime(local, '%m-%d') in ('01-01', '06-19', '07-04', '11-11', '12-25'))::int)
    from (select shipped_at - interval 5 hour as local from orders where shipped_at is not null)
"""

DELIVERED_OFF_DAYS = """
    select avg((dayofweek(local) = 0 or strftime(local, '%m-%d') in ('01-01', '12-25'))::int)
    from (select delivered_at - interval 7 hour as local from orders where delivered_at is not null)
"""

DELIVERED_BY_NIGHT = """
    select avg((hour(delivered_at - interval 7 hour) < 6)::int) from orders where delivered_at is not null
"""

REVIEWED_BY_NIGHT = "select avg((hour(created_at - interval 6 hour) between 1 and 5)::int) from reviews"

FAR = """
    select avg(days) filter (where state in ('CA', 'OR', 'WA'))
        / avg(days) filter (where state in ('KY', 'IN', 'IL', 'OH', 'TN', 'WV'))
    from (
        select
            regexp_extract(shipping_address, ', ([A-Z]{2}) [0-9]', 1) as state,
            date_diff('hour', shipped_at, delivered_at) / 24 as days
        from orders where delivered_at is not null
    )
"""

EMPTY_SHELVES = "select avg((stock_quantity = 0)::int) from products where is_active"

MONTHS_OF_STOCK = """
    select (select sum(stock_quantity) from products where is_active) / sum(quantity)
    from order_items
    where created_at > (select max(created_at) from order_items) - interval 30 day
"""

LATE_TOLD = """
    select avg(regexp_matches(review_text, '(?i)\\b(late|delayed|waited)\\b')::int)
    from reviews join orders using (order_id)
    where review_score <= 2 and delivered_at > promised_at
"""

TONES = "select avg(({})::int) from said"
