{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='event_id',
    post_hook='{{ keep_built_of() }}'
) }}

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

batches as (

    select
        batch_id,
        sequence
    from {{ ref('stg_batches') }}
    where table_name = 'interactions'

),

{% if is_incremental() -%}
-- With an event its whole session is built anew, and the session that an older version of it stood in.
affected as (

    select
        event_id,
        session_id
    from {{ ref('base_interactions') }}
    where _key in ({{ touched_keys('interactions') }})

    union all

    -- Events whose customer or product was not known when they were built, and is now.
    select
        event_id,
        session_id
    from {{ this }}
    where
        customer_id in (
            select customers.customer_id from customers
            where {{ is_new('customers._known_since') }}
        )

    union all

    select
        event_id,
        session_id
    from {{ this }}
    where
        product_id in (
            select products.product_id from products
            where {{ is_new('products._known_since') }}
        )

),

interactions as (

    select *
    from all_interactions
    where
        session_id in (
            select affected.session_id from affected
            where affected.session_id is not null
        )

    union all

    select *
    from all_interactions
    where session_id is null and event_id in (select affected.event_id from affected)

),
{%- else -%}
interactions as (

    select * from all_interactions

),
{%- endif %}

dated as (

    select
        interactions.*,
        coalesce(interactions.event_date, interactions.created_at) as occurred_at,
        batches.sequence
    from interactions
    left join batches on interactions._batch_id = batches.batch_id

),

superseded as (

    select
        event_id,
        session_id
    from {{ ref('base_interactions') }}
    where _state = 'superseded' and session_id is not null

),

staged as (

    select * from all_interactions
    where event_id in (select superseded.event_id from superseded)

),

-- Sessions that an event has left: which one begins them may have changed with the batch that took it out.
departures as (

    select
        superseded.session_id,
        max(batches.sequence) as sequence
    from superseded
    inner join staged on superseded.event_id = staged.event_id
    inner join batches on staged._batch_id = batches.batch_id
    where superseded.session_id is distinct from staged.session_id
    group by superseded.session_id

),

-- A session belongs to the customer and month of its first event, so that it is counted once.
sessions as (

    select
        session_id,
        min(struct_pack(occurred_at := occurred_at, event_id := event_id)) as first_event,
        max(sequence) as sequence
    from dated
    where session_id is not null
    group by session_id

),

joined as (

    select
        ---------- ids
        dated.event_id,
        coalesce(customers.customer_key, {{ unknown_key() }}) as customer_key,
        dated.customer_id,
        coalesce(products.product_key, {{ unknown_key() }}) as product_key,
        dated.product_id,
        dated.session_id,
        dated.order_id,
        dated.order_item_id,
        {{ month_key('dated.occurred_at') }} as month_key,

        ---------- text
        dated.event_type,
        dated.device_type,

        ---------- booleans
        coalesce(dated.event_id = sessions.first_event['event_id'], false) as is_session_start,

        ---------- timestamps
        dated.occurred_at,

        ---------- the row itself
        greatest(
            dated.sequence, sessions.sequence, departures.sequence, customers._known_since, products._known_since
        ) as _changed_in

    from dated
    left join customers on dated.customer_id = customers.customer_id
    left join products on dated.product_id = products.product_id
    left join sessions on dated.session_id = sessions.session_id
    left join departures on dated.session_id = departures.session_id

)

select * from joined
