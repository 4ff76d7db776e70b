{#
    Which events an increment of int_interactions builds anew: with an event its whole session, and the session that an
    older version of it stood in.
#}

{# A query for the events that have come or have changed, each with a session that it stands in, or stood in. #}
{% macro affected_events() -%}
    -- A staged event that a late version has come of, and not replaced, stands where it stood.
    select
        event_id,
        session_id
    from {{ ref('base_interactions') }}
    where _batch_id in ({{ new_batches('interactions') }})

    union all

    select
        event_id,
        session_id
    from {{ ref('base_interactions') }}
    where _state = 'superseded' and _key in ({{ touched_keys('interactions') }})
{%- endmacro %}


{#
    A query for the events to be built, once those are written down: with the batch that each came in, by which the large
    table is read at a few places alone.
#}
{% macro events_of_affected_sessions() -%}
    select
        event_id,
        session_id,
        _batch_id
    from {{ ref('stg_interactions') }}
    where session_id in (select affected.session_id from {{ written_down('affected') }} as affected)

    union all

    select
        event_id,
        session_id,
        _batch_id
    from {{ ref('stg_interactions') }}
    where
        session_id is null
        and event_id in (select affected.event_id from {{ written_down('affected') }} as affected)
{%- endmacro %}
