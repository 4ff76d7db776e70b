{#
    Foreign keys that exist in their dimension and values of a fixed list: all of a model in one test, which takes one
    query. A failing row has the column, the value and the number of rows with it.

    references  [{column, to, field}]: each value of the column must be in that field of the model `to`; the field defaults
                to the name of the column
    accepted    column → its allowed values
    Nulls pass. Where null is not allowed, the contract has a not-null constraint.
#}
{% test keys_and_values_are_known(model, references=[], accepted={}) %}
{%- if accepted %}
with

-- Read a large table once for all of these columns, which have few distinct values.
counted as materialized (

    select
        {{ accepted | join(', ') }},
        count(*) as rows_found
    from {{ model }}
    group by {{ accepted | join(', ') }}

)
{%- endif %}
{% for reference in references %}
{%- set column = reference.column %}
select
    '{{ column }}' as column_name,
    cast(child.{{ column }} as varchar) as value,
    count(*) as rows_found
from {{ model }} as child
anti join {{ reference.to }} as parent
    on child.{{ column }} = parent.{{ reference.field or column }}
where child.{{ column }} is not null
group by child.{{ column }}
{% if accepted or not loop.last %}union all{% endif %}
{% endfor %}
{% for column, values in accepted.items() %}
select
    '{{ column }}' as column_name,
    cast(counted.{{ column }} as varchar) as value,
    sum(counted.rows_found) as rows_found
from counted
-- Not an IN list: DuckDB would check it for each row of the model instead of each distinct value.
anti join (values {% for value in values %}('{{ value }}'){{ ', ' if not loop.last }}{% endfor %}) as accepted (value)
    on cast(counted.{{ column }} as varchar) = accepted.value
where counted.{{ column }} is not null
group by counted.{{ column }}
{% if not loop.last %}union all{% endif %}
{% endfor %}
{% endtest %}
