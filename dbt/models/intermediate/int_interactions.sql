with

interactions as (

    select * from {{ ref('stg_interactions') }}

),

customers as (

    select * from {{ ref('int_customers') }}

),

products as (

    select * from {{ ref('int_products') }}

),

-- A session belongs to the customer and month of its first event, so that it is counted once.
session_starts as (

    select
        session_id,
        min(struct_pack(occurred_at := coalesce(event_date, created_at), event_id := event_id)) as first_event
    from interactions
    where session_id is not null
    group by session_id

),

joined as (

    select
        ---------- ids
        interactions.event_id,
        coalesce(customers.customer_key, {{ unknown_key() }}) as customer_key,
        interactions.customer_id,
        coalesce(products.product_key, {{ unknown_key() }}) as product_key,
        interactions.product_id,
        interactions.session_id,
        interactions.order_id,
        interactions.order_item_id,

        ---------- text
        interactions.event_type,
        interactions.device_type,

        ---------- booleans
        session_starts.session_id is not null as is_session_start,

        ---------- timestamps
        coalesce(interactions.event_date, interactions.created_at) as occurred_at

    from interactions
    left join customers on interactions.customer_id = customers.customer_id
    left join products on interactions.product_id = products.product_id
    left join session_starts
        on
            interactions.session_id = session_starts.session_id
            and interactions.event_id = session_starts.first_event['event_id']

)

select * from joined
