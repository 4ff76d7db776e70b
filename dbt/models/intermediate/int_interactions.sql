{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='event_id',
    post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_interactions') }}
with

all_interactions as (

    select * from {{ ref('stg_interactions') }}

),

customers as (

    select * from {{ ref('int_customers') }}

),

products as (

    select * from {{ ref('int_products') }}

),

{% if is_incremental() -%}
changed_versions as (

    select
        event_id,
        session_id
    from {{ ref('base_interactions') }}
    where _key in ({{ touched_keys('interactions') }})

),

-- Events whose customer or product was not known when they were built, and is now.
identified as (

    select built.event_id
    from {{ this }} as built
    left join customers on built.customer_id = customers.customer_id
    left join products on built.product_id = products.product_id
    where
        (built.customer_key = {{ unknown_key() }} and customers.customer_id is not null)
        or (built.product_key = {{ unknown_key() }} and products.product_id is not null)

),

affected_events as (

    select event_id from changed_versions

    union all

    select event_id from identified

),

-- With an event its whole session is built anew, and the session that an older version of it stood in.
affected_sessions as (

    select session_id from changed_versions

    union all

    select all_interactions.session_id
    from all_interactions
    inner join identified on all_interactions.event_id = identified.event_id

),

interactions as (

    select all_interactions.*
    from all_interactions
    where
        all_interactions.event_id in (select affected_events.event_id from affected_events)
        or all_interactions.session_id in (
            select affected_sessions.session_id from affected_sessions
            where affected_sessions.session_id is not null
        )

),
{%- else -%}
interactions as (

    select * from all_interactions

),
{%- endif %}

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
