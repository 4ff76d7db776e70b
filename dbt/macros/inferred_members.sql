{#
    Inferred members (Kimball): a query for the ids of a dimension that facts name and no sound record describes. Each has
    a row of its own, with the key that it keeps when its record arrives. An increment gives those named since.

    table_name  the source table that ought to describe them
    described   name of the CTE with the members that records describe; in an increment, those that it builds
#}
{% macro inferred_members(table_name, described) -%}
    {%- set id = table_name[:-1] ~ '_id' -%}
    select members.member_id as {{ id }}
    from {{ ref('int_named_members') }} as members
    anti join {{ described }} as described on members.member_id = described.{{ id }}
    {%- if is_incremental() %}
    anti join {{ this }} as built on members.member_id = built.{{ id }}
    {%- endif %}
    where
        members.table_name = '{{ table_name }}'
        {%- if is_incremental() %}
        and {{ is_new('members.named_in') }}
        {%- endif %}
{%- endmacro %}
