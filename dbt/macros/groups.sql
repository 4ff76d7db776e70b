{#
    Aggregates of interactions that are summed again only where something changed.

    A group is what the model has a row of: a product and month, a session. An increment sums those groups anew that a
    changed event stands in, or stood in before, from all of their events; the strategy `groups` takes the rows of these
    groups away and puts the new ones in their place, so that a group which has lost its last event is gone.
    A sum that is only added to would be quicker still, and wrong as soon as an event moves.
#}

{#
    A query for the groups that have changed, by columns of int_interactions: for increments alone, which write them
    down.
#}
{% macro changed_groups(columns) -%}
    with

    changed as (

        select
            event_id,
            customer_key,
            product_key,
            session_id,
            month_key
        from {{ ref('int_interactions') }}
        where {{ is_new('_changed_in') }}

    ),

    -- Where an event stood before, by its older versions.
    older as (

        select
            {{ surrogate_key(['customer_id']) }} as customer_key,
            {{ surrogate_key(['product_id']) }} as product_key,
            session_id,
            {{ month_key('coalesce(event_date, created_at)') }} as month_key
        from {{ ref('base_interactions') }}
        where _state = 'superseded' and event_id in (select changed.event_id from changed)

        union all

        select
            customer_key,
            product_key,
            session_id,
            month_key
        from changed

    )

    select {{ columns | join(', ') }} from older
    group by {{ columns | join(', ') }}
{%- endmacro %}


{# dbt's strategy `groups`: changed groups are taken out whole, and come back as far as they have rows still. #}
{% macro get_incremental_groups_sql(strategy) -%}
    {%- set keys = strategy.unique_key -%}
    {%- set columns = strategy.dest_columns | map(attribute='quoted') | join(', ') -%}
    delete from {{ strategy.target_relation }}
    where ({{ keys | join(', ') }}) in (select {{ keys | join(', ') }} from {{ written_down() }});

    insert into {{ strategy.target_relation }} ({{ columns }})
    select {{ columns }} from {{ strategy.temp_relation }}
{%- endmacro %}
