-- CTEs that are read several times, but rarely in full, are not materialized.
with

orders as not materialized (

    select * from {{ ref('stg_orders') }}

),

items as not materialized (

    select * from {{ ref('stg_order_items') }}

),

interactions as not materialized (

    select * from {{ ref('stg_interactions') }}

),

reviews as (

    select * from {{ ref('stg_reviews') }}

),

products as (

    select * from {{ ref('stg_products') }}

),

cancelled as (

    select order_id from orders
    where {{ is_cancelled('status') }}

),

-- A credit line sells nothing: its amount is a refund.
lines as not materialized (

    select
        *,
        {{ line_amount('items') }} as amount,
        {{ is_credit_line('quantity', 'amount') }} as is_credit_line
    from items

),

item_discounts as (

    select
        order_id,
        {{ discount_of_items('discount_amount', 'is_credit_line') }} as discount_amount
    from lines
    group by order_id

),

-- The order's discount beyond those of its items; nothing if the items' discounts are at least as large.
further_discounts as (

    select
        orders.order_id,
        case
            when orders.discount_amount > 0
                then greatest(orders.discount_amount - coalesce(item_discounts.discount_amount, 0), 0)
            when orders.discount_amount < 0
                then least(orders.discount_amount - coalesce(item_discounts.discount_amount, 0), 0)
            else 0
        end as discount_amount
    from orders
    left join item_discounts on orders.order_id = item_discounts.order_id

),

-- Every total comes from staging alone, computed differently than in the marts: no allocation, window or dimension.
item_totals as (

    select
        count(*) as order_lines,
        coalesce(sum(lines.quantity) filter (where not lines.is_credit_line), 0) as units,
        coalesce(sum(lines.quantity) filter (where not lines.is_credit_line and lines.returned_at is not null), 0)
        - coalesce(sum(lines.quantity) filter (where lines.quantity < 0), 0) as returned_units,
        coalesce(sum(lines.amount) filter (where not lines.is_credit_line), 0) as gross_amount,
        -coalesce(sum(lines.amount) filter (where lines.is_credit_line), 0) as credit_amount,
        coalesce(sum(lines.discount_amount), 0) as discount_amount,
        coalesce(sum(lines.refund_amount), 0) as refund_amount,
        coalesce(
            sum(lines.amount) filter (where not lines.is_credit_line and cancelled.order_id is not null), 0
        ) as cancelled_gross_amount,
        -coalesce(
            sum(lines.amount) filter (where lines.is_credit_line and cancelled.order_id is not null), 0
        ) as cancelled_credit_amount,
        coalesce(
            sum(lines.discount_amount) filter (where cancelled.order_id is not null), 0
        ) as cancelled_discount_amount,
        coalesce(sum(lines.refund_amount) filter (where cancelled.order_id is not null), 0) as cancelled_refund_amount
    from lines
    left join cancelled on lines.order_id = cancelled.order_id

),

-- The amount of a refunded order, if none of its lines states a refund.
refunded_orders as (

    select
        orders.order_id,
        coalesce(sum(lines.amount), 0)
        - coalesce(sum(lines.discount_amount), 0)
        - any_value(further_discounts.discount_amount) as refund_amount
    from orders
    inner join further_discounts on orders.order_id = further_discounts.order_id
    left join lines on orders.order_id = lines.order_id
    where {{ is_refunded('orders.status') }}
    group by orders.order_id
    having
        count(*) filter (where lines.refund_amount <> 0 or (lines.is_credit_line and lines.amount <> 0)) = 0

),

refund_totals as (

    select coalesce(sum(refund_amount), 0) as refund_amount from refunded_orders

),

order_totals as (

    select
        count(*) as orders,
        count(*) filter (where cancelled.order_id is not null) as cancelled_orders,
        coalesce(sum(orders.shipping_cost), 0) as shipping_amount,
        coalesce(sum(orders.total_amount), 0) as source_total_amount,
        coalesce(sum(further_discounts.discount_amount), 0) as discount_amount,
        coalesce(
            sum(further_discounts.discount_amount) filter (where cancelled.order_id is not null), 0
        ) as cancelled_discount_amount
    from orders
    left join cancelled on orders.order_id = cancelled.order_id
    inner join further_discounts on orders.order_id = further_discounts.order_id

),

-- The cost at the time of the order, computed differently than in the history: from the last record of the product
-- until then, unchanged rows included, else from its first.
product_records as (

    select
        products._key,
        products._row_hash,
        products._batch_id,
        products._row_number
    from {{ ref('base_products') }} as products

    union all

    select
        sightings._key,
        sightings._row_hash,
        sightings._batch_id,
        sightings._row_number
    from {{ source('ecom_raw', 'sightings') }} as sightings
    where sightings.table_name = 'products'

),

sound_products as (

    select
        _key,
        _row_hash,
        min(product_id) as product_id,
        min(updated_at) as updated_at,
        min(cost) as cost,
        min(coalesce(sale_price, base_price)) as price
    from {{ ref('base_products') }}
    where _state <> 'quarantined'
    group by _key, _row_hash

),

costs_by_moment as (

    select
        products.product_id,
        coalesce(products.updated_at, cast(batches.batch_date as timestamp)) as moment,
        max_by(
            struct_pack(cost := products.cost),
            struct_pack(place := batches.place, row_number := product_records._row_number)
        )['cost'] as cost,
        max_by(
            struct_pack(price := products.price),
            struct_pack(place := batches.place, row_number := product_records._row_number)
        )['price'] as price
    from product_records
    inner join sound_products as products
        on product_records._key = products._key and product_records._row_hash = products._row_hash
    inner join {{ ref('stg_batches') }} as batches
        on product_records._batch_id = batches.batch_id and batches.table_name = 'products'
    group by products.product_id, coalesce(products.updated_at, cast(batches.batch_date as timestamp))

),

prices as (

    select
        price,
        lag(price) over (partition by product_id order by moment) as price_before,
        lag(moment) over (partition by product_id order by moment) as moment_before
    from costs_by_moment

),

costs as (

    select
        product_id,
        cost,
        case
            when moment > min(moment) over (partition by product_id) then moment
            else timestamp '1900-01-01'
        end as known_from,
        lead(moment, 1, timestamp '9999-12-31') over (partition by product_id order by moment) as known_until
    from costs_by_moment

),

first_times as (

    select
        order_id,
        min(created_at) as first_item_at,
        sum(
            case
                when quantity < 0 then -cast(quantity as bigint)
                when returned_at is not null and not is_credit_line then quantity
                else 0
            end
        ) as returned_units
    from lines
    group by order_id

),

kept_items as (

    select
        items.product_id,
        case when items.is_credit_line then 0 else items.quantity end as units,
        cast(
            case
                when items.is_credit_line then least(items.quantity, 0)
                when items.returned_at is null then items.quantity
            end as bigint
        ) as kept_units,
        coalesce(
            orders.order_date,
            orders.created_at,
            first_times.first_item_at,
            timestamp '2199-12-31'
        ) as ordered_at,
        cast(ordered_at as date) as ordered_on,
        cancelled.order_id is null as is_sold
    from lines as items
    inner join first_times on items.order_id = first_times.order_id
    left join orders on items.order_id = orders.order_id
    left join cancelled on items.order_id = cancelled.order_id

),

cost_totals as (

    select
        coalesce(
            sum(
                case
                    when kept_items.is_sold and {{ has_cost('kept_items.kept_units', 'costs.cost') }}
                        then cast({{ times('kept_items.kept_units', 'costs.cost') }} as decimal(18, 2))
                end
            ),
            0
        ) as cost_amount,
        coalesce(
            sum(abs(kept_items.kept_units)) filter (
                where kept_items.is_sold and not {{ has_cost('kept_items.kept_units', 'costs.cost') }}
            ),
            0
        ) as uncosted_units
    from kept_items
    left join costs
        on
            kept_items.product_id = costs.product_id
            and kept_items.ordered_at >= costs.known_from
            and kept_items.ordered_at < costs.known_until

),

product_totals as (

    select
        count(created_at) as launches,
        coalesce(sum(stock_quantity), 0) as stock_quantity,
        coalesce(
            sum(
                case
                    when {{ has_cost('stock_quantity', 'cost') }}
                        then cast({{ times('stock_quantity', 'cost') }} as decimal(18, 2))
                end
            ),
            0
        ) as stock_value
    from products

),

change_totals as (

    select count(*) as price_changes
    from prices
    where moment_before is not null and price is distinct from price_before

),

recent_totals as (

    select
        coalesce(
            sum(units) filter (
                where is_sold
                and ordered_on <= {{ as_of() }}
                and date_diff('day', ordered_on, {{ as_of() }}) < {{ var('cover_window_days') }}
            ),
            0
        ) as recent_units
    from kept_items

),

-- k different known subcategories in a basket make k (k - 1) / 2 pairs.
subcategories_of_orders as (

    select
        items.order_id,
        count(distinct products.subcategory_id) as subcategories
    from lines as items
    inner join products on items.product_id = products.product_id
    inner join {{ ref('stg_subcategories') }} as known on products.subcategory_id = known.subcategory_id
    left join cancelled on items.order_id = cancelled.order_id
    where cancelled.order_id is null and not items.is_credit_line
    group by items.order_id

),

basket_totals as (

    select coalesce(sum(subcategories * (subcategories - 1) // 2), 0) as orders_with_both
    from subcategories_of_orders

),

-- The steps of each session: a later one implies the earlier ones.
sessions as (

    select
        session_id,
        max(cast(
            case event_type when 'view' then 1 when 'cart_add' then 2 when 'purchase' then 3 else 0 end as utinyint
        )) as step
    from interactions
    where session_id is not null
    group by session_id

),

session_totals as (

    select
        count(*) as sessions,
        count(*) filter (where step >= 1) as viewing_sessions,
        count(*) filter (where step >= 2) as carting_sessions,
        count(*) filter (where step >= 3) as buying_sessions
    from sessions

),

fulfilment_totals as (

    select
        count(orders.shipped_at) as shipped_orders,
        count(orders.delivered_at) as delivered_orders,
        count(*) filter (
            where orders.delivered_at is not null and orders.promised_at is not null
        ) as promised_deliveries,
        count(*) filter (where orders.delivered_at > orders.promised_at) as late_deliveries,
        count(*) filter (
            where cancelled.order_id is null
            and orders.delivered_at is null
            and orders.promised_at < {{ as_of() }}
        ) as overdue_orders,
        count(date_diff(
            'day', coalesce(orders.order_date, orders.created_at, first_times.first_item_at), orders.shipped_at
        )) as timed_shipments,
        coalesce(sum(date_diff(
            'day', coalesce(orders.order_date, orders.created_at, first_times.first_item_at), orders.shipped_at
        )), 0) as days_to_ship,
        count(date_diff(
            'day', coalesce(orders.order_date, orders.created_at, first_times.first_item_at), orders.delivered_at
        )) as timed_deliveries,
        coalesce(sum(date_diff(
            'day', coalesce(orders.order_date, orders.created_at, first_times.first_item_at), orders.delivered_at
        )), 0) as days_to_deliver
    from orders
    left join cancelled on orders.order_id = cancelled.order_id
    left join first_times on orders.order_id = first_times.order_id

),

return_totals as (

    select count(*) filter (where returned_units > 0) as returned_orders from first_times

),

orders_known_by_items_alone as (

    select count(distinct items.order_id) as orders
    from items
    left join orders on items.order_id = orders.order_id
    where orders.order_id is null

),

events_by_type as (

    select
        event_type,
        count(*) as events
    from interactions
    group by event_type

),

interaction_totals as (

    select
        coalesce(sum(events), 0) as events,
        coalesce(sum(events) filter (where event_type = 'view'), 0) as views,
        coalesce(sum(events) filter (where event_type = 'cart_add'), 0) as cart_adds,
        coalesce(sum(events) filter (where event_type = 'cart_remove'), 0) as cart_removes,
        coalesce(sum(events) filter (where event_type = 'wishlist_add'), 0) as wishlist_adds,
        coalesce(sum(events) filter (where event_type = 'search'), 0) as searches,
        coalesce(sum(events) filter (where event_type = 'purchase'), 0) as purchases
    from events_by_type

),

review_totals as (

    select
        count(*) as reviews,
        count(review_score) as scored_reviews,
        coalesce(sum(review_score), 0) as review_score
    from reviews

),

totals as (

    select
        cast(orders.orders + orphans.orders as decimal(38, 2)) as orders,
        cast(orders.cancelled_orders as decimal(38, 2)) as cancelled_orders,
        cast(items.order_lines as decimal(38, 2)) as order_lines,
        cast(items.units as decimal(38, 2)) as units,
        cast(items.returned_units as decimal(38, 2)) as returned_units,
        cast(items.gross_amount as decimal(38, 2)) as gross_amount,
        cast(items.discount_amount + orders.discount_amount as decimal(38, 2)) as discount_amount,
        cast(items.gross_amount - items.discount_amount - orders.discount_amount as decimal(38, 2)) as net_amount,
        cast(orders.shipping_amount as decimal(38, 2)) as shipping_amount,
        cast(
            items.cancelled_gross_amount - items.cancelled_discount_amount - orders.cancelled_discount_amount
            as decimal(38, 2)
        ) as cancelled_amount,
        cast(
            items.refund_amount + items.credit_amount + refunds.refund_amount as decimal(38, 2)
        ) as refund_amount,
        cast(items.credit_amount as decimal(38, 2)) as credit_amount,
        cast(
            (items.gross_amount - items.cancelled_gross_amount)
            - (items.discount_amount - items.cancelled_discount_amount)
            - (orders.discount_amount - orders.cancelled_discount_amount)
            - (items.refund_amount - items.cancelled_refund_amount)
            - (items.credit_amount - items.cancelled_credit_amount)
            - refunds.refund_amount
            as decimal(38, 2)
        ) as revenue,
        cast(costs.cost_amount as decimal(38, 2)) as cost_amount,
        cast(costs.uncosted_units as decimal(38, 2)) as uncosted_units,
        cast(orders.source_total_amount as decimal(38, 2)) as source_total_amount,
        cast(products.launches as decimal(38, 2)) as launches,
        cast(products.stock_quantity as decimal(38, 2)) as stock_quantity,
        cast(products.stock_value as decimal(38, 2)) as stock_value,
        cast(changes.price_changes as decimal(38, 2)) as price_changes,
        cast(recent.recent_units as decimal(38, 2)) as recent_units,
        cast(baskets.orders_with_both as decimal(38, 2)) as orders_with_both,
        cast(visits.viewing_sessions as decimal(38, 2)) as viewing_sessions,
        cast(visits.carting_sessions as decimal(38, 2)) as carting_sessions,
        cast(visits.buying_sessions as decimal(38, 2)) as buying_sessions,
        cast(fulfilment.shipped_orders as decimal(38, 2)) as shipped_orders,
        cast(fulfilment.delivered_orders as decimal(38, 2)) as delivered_orders,
        cast(fulfilment.promised_deliveries as decimal(38, 2)) as promised_deliveries,
        cast(fulfilment.late_deliveries as decimal(38, 2)) as late_deliveries,
        cast(fulfilment.overdue_orders as decimal(38, 2)) as overdue_orders,
        cast(fulfilment.timed_shipments as decimal(38, 2)) as timed_shipments,
        cast(fulfilment.days_to_ship as decimal(38, 2)) as days_to_ship,
        cast(fulfilment.timed_deliveries as decimal(38, 2)) as timed_deliveries,
        cast(fulfilment.days_to_deliver as decimal(38, 2)) as days_to_deliver,
        cast(returns.returned_orders as decimal(38, 2)) as returned_orders,
        cast(interactions.events as decimal(38, 2)) as events,
        cast(interactions.views as decimal(38, 2)) as views,
        cast(interactions.cart_adds as decimal(38, 2)) as cart_adds,
        cast(interactions.cart_removes as decimal(38, 2)) as cart_removes,
        cast(interactions.wishlist_adds as decimal(38, 2)) as wishlist_adds,
        cast(interactions.searches as decimal(38, 2)) as searches,
        cast(interactions.purchases as decimal(38, 2)) as purchases,
        cast(visits.sessions as decimal(38, 2)) as sessions,
        cast(reviews.reviews as decimal(38, 2)) as reviews,
        cast(reviews.scored_reviews as decimal(38, 2)) as scored_reviews,
        cast(reviews.review_score as decimal(38, 2)) as review_score,
        cast(reviews.review_score as decimal(38, 2)) as review_score_sum
    from item_totals as items
    cross join refund_totals as refunds
    cross join order_totals as orders
    cross join cost_totals as costs
    cross join product_totals as products
    cross join change_totals as changes
    cross join recent_totals as recent
    cross join basket_totals as baskets
    cross join session_totals as visits
    cross join fulfilment_totals as fulfilment
    cross join return_totals as returns
    cross join orders_known_by_items_alone as orphans
    cross join interaction_totals as interactions
    cross join review_totals as reviews

),

staging_totals as (

    unpivot totals on columns(*) into name measure value staging_total

),
{% for mart, measures in reconciled_measures().items() %}
sums_of_{{ mart }} as (

    select
        {{ sums_of(measures) }}
    from {{ ref(mart) }}

),

totals_of_{{ mart }} as (

    unpivot sums_of_{{ mart }} on columns(*) into name measure value mart_total

),
{% endfor %}
mart_totals as (
    {% for mart in reconciled_measures() %}
    select
        '{{ mart }}' as mart,
        measure,
        mart_total
    from totals_of_{{ mart }}
    {% if not loop.last %}
    union all
    {% endif %}
    {%- endfor %}
),

-- A measure without a total of its name in staging is null here, and fails the contract's not-null constraint.
compared as (

    select
        mart_totals.mart,
        mart_totals.measure,
        mart_totals.mart_total,
        staging_totals.staging_total,
        mart_totals.mart_total = staging_totals.staging_total as equal,
        {{ as_of() }} as as_of
    from mart_totals
    left join staging_totals on mart_totals.measure = staging_totals.measure

)

select * from compared
