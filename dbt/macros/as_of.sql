{# The last day of data. No model reads the clock: what depends on today depends on this. #}
{% macro as_of() -%}
    (select max(as_of) from {{ ref('stg_as_of') }})
{%- endmacro %}
