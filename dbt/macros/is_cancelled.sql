{# An order that was called off: its lines are counted as ordered, and taken out of revenue. See docs/decisions.md. #}
{% macro is_cancelled(status) -%}
    coalesce({{ status }} = 'cancelled', false)
{%- endmacro %}
