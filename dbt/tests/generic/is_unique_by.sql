{#
    The grain of a model: these columns are unique together, and none of them is null.

    written  for large tables, how to find the rows written since the test last passed: the name of the source table whose
             new batches touch their keys, or the column with the sequence of their last change. These rows are compared
             with all rows.
#}
{% test is_unique_by(model, columns, written=none) %}
{%- set names = columns | join(', ') -%}
{%- set is_of_source = written and not written.startswith('_') -%}
{%- if written -%}
    {{ tests_what_is() }}
    {#- If the source renumbers the items of an order, items missing from a batch count too. -#}
    {%- set renumbered = env_var('DUCKBOOK_ORDER_ITEMS_RENUMBERED', 'false') | lower in ['true', '1', 'yes', 'on'] -%}
    {%- set until = none if written == 'order_items' and renumbered else tested_until() -%}
{%- endif -%}
{%- set is_incomplete = columns | join(' is null or ') ~ ' is null' -%}
{%- if is_of_source -%}
    {%- set versions = ref('base_' ~ written) -%}
    {%- set batches = batches_after(until, written) -%}
{%- endif %}
{#- A batch rewrites all versions of the keys in it. -#}
{%- set writes_all_versions = is_of_source and ('_batch_id' in columns or written in ('orders', 'customers')) %}
with

{% if written and until is not none -%}
-- Materialized, so that the planner knows how few these are and filters the large table by them.
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
    {#- The other versions of the same business keys. #}

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
    -- Compare short hashes first: few rows of a large table share one.
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
