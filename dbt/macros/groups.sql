{#
    Aggregates of interactions that are recomputed only for changed groups.

    A group is one row of the model, such as a product and month, or a session. An increment recomputes the groups that
    a changed event is in or was in, from all of their events. The strategy `groups` deletes the rows of these groups
    and inserts the new ones, so that a group without events disappears. Adding to the old sums would be faster, but
    wrong once an event moves to another group.
#}

{# A query for the changed groups, by columns of int_interactions. Only for increments, which materialize it. #}
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

    -- The groups of an event's older versions.
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


{# dbt's incremental strategy `groups`: delete all rows of the changed groups and insert the new ones. #}
{% macro get_incremental_groups_sql(strategy) -%}
    {%- set keys = strategy.unique_key -%}
    {%- set columns = strategy.dest_columns | map(attribute='quoted') | join(', ') -%}
    delete from {{ strategy.target_relation }}
    where ({{ keys | join(', ') }}) in (select {{ keys | join(', ') }} from {{ written_down() }});

    insert into {{ strategy.target_relation }} ({{ columns }})
    select {{ columns }} from {{ strategy.temp_relation }}
{%- endmacro %}
