{#
    The grain of a model: no two rows agree in these columns, and none of them is null.

    written  how the rows are told that were written since the test last passed, where the table is large: the name of
             the source table whose new batches touch their keys, or the column with the sequence of their last change.
             The rows that agree with one of them are looked for among all.
#}
{% test is_unique_by(model, columns, written=none) %}
{%- set until = none -%}
{%- if written -%}
    {{ tests_what_is() }}
    {%- set until = tested_until() -%}
    {%- set versions = ref('base_' ~ written) if not written.startswith('_') else model %}
{%- endif %}
select
    {{ columns | join(', ') }},
    count(*) as rows_found
from {{ model }}
{%- if until is not none %}
where
    ({{ columns | join(', ') }}) in (
        {%- if written.startswith('_') %}
        select {{ columns | join(', ') }} from {{ versions }}
        where {{ written }} > {{ until }}
        {%- else %}
        select {{ columns | join(', ') }} from {{ versions }}
        where _batch_id in ({{ batches_after(until, written) }}) or _key in ({{ touched_keys(written, batches=batches_after(until, written)) }})
        {%- endif %}
    )
    {%- for column in columns %} or {{ column }} is null{% endfor %}
{%- endif %}
group by {{ columns | join(', ') }}
having count(*) > 1{% for column in columns %} or {{ column }} is null{% endfor %}
{% endtest %}
