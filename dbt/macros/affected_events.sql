{#
    The events that an increment of int_interactions rebuilds: with each event its whole session, and the session of its
    older versions.
#}

{# A query for the new and changed events, with each session that they are in or were in. #}
{% macro affected_events() -%}
    -- If a late version does not replace the staged event, the event stays in its session.
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
    A query for the events to rebuild, once the affected ones are in the temporary table. It has the batch of each
    event, so that only a few parts of the large table are read.
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
