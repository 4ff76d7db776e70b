{#
    The members of a dimension that records describe, and its inferred members (Kimball): ids that facts name and no
    valid record describes. Each inferred member has a row and keeps its key when its record arrives. An increment adds
    those named since.

    table_name    the source table that should describe them
    described     name of the CTE with the described members; in an increment, only those that it builds
    are_versions  whether the rows are versions: then an inferred member has one that is always valid, with the key of the
                  first version to come
#}
{% macro with_inferred_members(table_name, described, are_versions=false) -%}
    {%- set id = table_name[:-1] ~ '_id' -%}
    select
        *,
        false as is_inferred
    from {{ described }}

    union all by name

    select
        members.member_id as {{ id }},
        {%- if are_versions %}
        cast(1 as integer) as version,
        timestamp '1900-01-01' as valid_from,
        timestamp '9999-12-31' as valid_to,
        true as is_current,
        {%- endif %}
        true as is_inferred
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
