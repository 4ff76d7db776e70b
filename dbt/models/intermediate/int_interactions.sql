{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='event_id',
    pre_hook=[
        "{{ write_down(affected_events(), 'affected') }}", '{{ write_down(events_of_affected_sessions()) }}'
    ],
    post_hook='{{ keep_built_of() }}'
) }}

with

-- Not materialized: read several times, but rarely in full.
all_interactions as not materialized (

    select * from {{ ref('stg_interactions') }}

),

batches as (

    select
        batch_id,
        sequence
    from {{ ref('stg_batches') }}
    where table_name = 'interactions'

),

-- In a full build neither are these: all events of a large warehouse would spill to disk.
interactions as {{ '' if is_incremental() else 'not ' }}materialized (

    select * from all_interactions
    {%- if is_incremental() %}
    where
        event_id in (select keys.event_id from {{ written_down() }} as keys)
        and _batch_id in (
            select keys._batch_id from {{ written_down() }} as keys
            group by keys._batch_id
        )
    {%- endif %}

),

dated as not materialized (

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
    where
        _state = 'superseded'
        and session_id is not null
        {%- if is_incremental() %}
        and session_id in (select keys.session_id from {{ written_down() }} as keys)
        {%- endif %}

),

staged as (

    select * from all_interactions
    where event_id in (select superseded.event_id from superseded)

),

-- Sessions that an event has left: their first event may have changed with the batch that moved it.
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
        -- Each customer of an event is in the dimension, inferred if there is no record.
        {{ surrogate_key(['dated.customer_id']) }} as customer_key,
        dated.customer_id,
        {{ surrogate_key(['dated.product_id']) }} as product_key,
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
        greatest(dated.sequence, sessions.sequence, departures.sequence) as _changed_in

    from dated
    left join sessions on dated.session_id = sessions.session_id
    left join departures on dated.session_id = departures.session_id

)

select * from joined
