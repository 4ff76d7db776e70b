{# The last day of the data. Models never read the clock: use this macro instead. #}
{% macro as_of() -%}
    (select max(as_of) from {{ ref('stg_as_of') }})
{%- endmacro %}
