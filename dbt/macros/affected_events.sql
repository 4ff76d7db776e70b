{#
    A query for the events that an increment of int_interactions builds anew, each with a session that it stands in: with
    an event its whole session is built anew, and the session that an older version of it stood in.
#}
{% macro affected_events() -%}
    select
        event_id,
        session_id
    from {{ ref('base_interactions') }}
    where _key in ({{ touched_keys('interactions') }})

    -- Events whose customer or product was not known when they were built, and is now.
    {%- for table_name, id in [('customers', 'customer_id'), ('products', 'product_id')] %}

    union all

    select
        event_id,
        session_id
    from {{ this }}
    where
        {{ id }} in (
            select members.{{ id }} from {{ ref('int_' ~ table_name) }} as members
            where {{ is_new('members._known_since') }}
        )
    {%- endfor %}
{%- endmacro %}
