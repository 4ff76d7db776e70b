{#
    The members of a dimension that records describe, and its inferred members (Kimball): the ids that facts name and no
    sound record describes. Each has a row of its own, with the key that it keeps when its record arrives. An increment
    gives those named since.

    table_name    the source table that ought to describe them
    described     name of the CTE with what records describe; in an increment, what it builds
    are_versions  whether that is their histories: then an inferred member has one version, which always holds. Its key
                  is that of the first version to come.
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
