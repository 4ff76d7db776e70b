{#
    Keys that lead somewhere, and values out of their list: all of a model in one test, which costs one query. A row
    that fails names the column and the value, and how often it is found.

    references  [{column, to, field}]: each value of the column is one of the field of that model; the field has the name
                of the column where it is left out
    accepted    column → the values that it may have
    Null leads nowhere and is no value: where it may not be, a constraint of the contract says so.
#}
{% test keys_and_values_are_known(model, references=[], accepted={}) %}
{%- if accepted %}
with

-- A large table is read once for all of these columns, which have few values.
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
-- Not by a list: DuckDB would ask it of each row of the model, and not of the few that are counted.
anti join (values {% for value in values %}('{{ value }}'){{ ', ' if not loop.last }}{% endfor %}) as accepted (value)
    on cast(counted.{{ column }} as varchar) = accepted.value
where counted.{{ column }} is not null
group by counted.{{ column }}
{% if not loop.last %}union all{% endif %}
{% endfor %}
{% endtest %}
