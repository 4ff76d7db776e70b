{#
    A complete slowly changing dimension of type 2: the versions of each key begin on 1900-01-01, follow each other
    without gap or overlap, and end on 9999-12-31 with the current one; and the current ones equal the current
    dimension in every given column. A failing row names the key and the fault.
#}
{% test is_a_history_of(model, current, key, columns) %}
with

versions as (

    select
        {{ key }},
        valid_from,
        valid_to,
        is_current,
        lag(valid_to, 1, timestamp '1900-01-01') over (partition by {{ key }} order by valid_from) as ends_before,
        lead(valid_from, 1, timestamp '9999-12-31') over (partition by {{ key }} order by valid_from) as begins_after,
        lead(valid_from) over (partition by {{ key }} order by valid_from) is null as is_last
    from {{ model }}

)

select
    {{ key }},
    'its versions leave a gap, overlap or have no length' as what
from versions
where valid_from <> ends_before or valid_to <> begins_after or valid_from >= valid_to

union all

select
    {{ key }},
    'its last version is not the current one' as what
from versions
where is_current <> is_last

union all

select
    coalesce(history.{{ key }}, dimension.{{ key }}) as {{ key }},
    'its current version is not the member of {{ current }}' as what
from (select * from {{ model }} where is_current) as history
full outer join {{ current }} as dimension on history.{{ key }} = dimension.{{ key }}
where
    history.{{ key }} is null
    or dimension.{{ key }} is null
    {%- for column in columns %}
    or history.{{ column }} is distinct from dimension.{{ column }}
    {%- endfor %}
{% endtest %}
