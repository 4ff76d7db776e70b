{#
    The grain of a model: no two rows agree in these columns, and none of them is null.

    written  how the rows are told that were written since the test last passed, where the table is large: the name of
             the source table whose new batches touch their keys, or the column with the sequence of their last change.
             The rows that agree with one of them are looked for among all.
#}
{% test is_unique_by(model, columns, written=none) %}
{%- set names = columns | join(', ') -%}
{%- set is_of_source = written and not written.startswith('_') -%}
{%- if written -%}
    {{ tests_what_is() }}
    {#- What a batch leaves out counts as well where sources number the items of an order anew. -#}
    {%- set renumbered = env_var('DUCKBOOK_ORDER_ITEMS_RENUMBERED', 'false') | lower in ['true', '1', 'yes', 'on'] -%}
    {%- set until = none if written == 'order_items' and renumbered else tested_until() -%}
{%- endif -%}
{%- set is_incomplete = columns | join(' is null or ') ~ ' is null' -%}
{%- if is_of_source -%}
    {%- set versions = ref('base_' ~ written) -%}
    {%- set batches = batches_after(until, written) -%}
{%- endif %}
{#- A batch writes all versions of the keys in it anew. -#}
{%- set writes_all_versions = is_of_source and ('_batch_id' in columns or written in ('orders', 'customers')) %}
with

{% if written and until is not none -%}
-- Materialized, so that the planner need not guess how few these are, and reads the large table by them.
{%- if writes_all_versions %}
touched as materialized (

    {{ touched_keys(written, undated=versions if written in ('orders', 'customers') else none, batches=batches) }}

),

{% endif %}
written as materialized (

    {%- if not is_of_source %}

    select {{ names }} from {{ model }}
    where {{ written }} > {{ until }}
    {%- else %}

    select {{ names }} from {{ versions }}
    where _batch_id in ({{ batches }})
    {%- if writes_all_versions %}
    {#- Their business key is that of the new ones. #}

    union all

    select {{ names }} from {{ versions }}
    where _key in (select touched._key from touched)
    {%- endif %}
    {%- endif %}

),

{% endif -%}
looked_at as (

    select {{ names }} from {{ model }}
    {%- if written and until is none %}
    -- By a hash of them first, which is short to keep: of a large table few rows share one.
    where
        hash({{ names }}) in (
            select hash({{ names }}) from {{ model }}
            group by hash({{ names }})
            having count(*) > 1
        )
        or {{ is_incomplete }}
    {%- elif written %}
    where ({{ names }}) in (select {{ names }} from written)

    union all

    select {{ names }} from {{ model }}
    where ({{ is_incomplete }}){{ ' and _batch_id in (' ~ batches ~ ')' if is_of_source and '_batch_id' not in columns }}
    {%- endif %}

)

select
    {{ names }},
    count(*) as rows_found
from looked_at
group by {{ names }}
having count(*) > 1 or {{ is_incomplete }}
{% endtest %}
