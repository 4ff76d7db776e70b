{# A cancelled order: its lines count as ordered but not as revenue. See docs/decisions.md. #}
{% macro is_cancelled(status) -%}
    coalesce({{ status }} = 'cancelled', false)
{%- endmacro %}


{# A fully refunded order, whether or not its lines say so. #}
{% macro is_refunded(status) -%}
    coalesce({{ status }} = 'refunded', false)
{%- endmacro %}


{# A line that takes back instead of selling: a return or credit that the source writes as a line of its own. #}
{% macro is_credit_line(quantity, amount) -%}
    (coalesce({{ quantity }}, 0) < 0 or {{ amount }} < 0)
{%- endmacro %}


{#
    The discounts of items that the order's own discount is compared with: those of its selling lines. The discounts of
    credit lines count only if an order has no other lines.
#}
{% macro discount_of_items(discount, is_credit_line, over='') -%}
    coalesce(
        case
            when bool_and({{ is_credit_line }}) {{ over }} then sum({{ discount }}) {{ over }}
            else sum({{ discount }}) filter (where not {{ is_credit_line }}) {{ over }}
        end,
        0
    )
{%- endmacro %}


{# Units times a price or cost, exactly: DuckDB fails on a product of two numbers of 18 digits. #}
{% macro times(units, price) -%}
    cast({{ units }} as bigint) * {{ price }}
{%- endmacro %}


{# The amount of a line in whole cents: the source's total, else quantity times unit price, rounded once at the end. #}
{% macro line_amount(items) -%}
    cast(
        coalesce({{ items }}.total_price, {{ times(items ~ '.quantity', items ~ '.unit_price') }}, 0) as decimal(18, 2)
    )
{%- endmacro %}


{#
    Whether the cost of the units, in whole cents, is known. A unit cost that makes a trillion of them is taken for a
    filler, as dates before 1900 are.
#}
{% macro has_cost(units, cost) -%}
    ({{ cost }} is not null and abs({{ times(units, cost) }}) < 1000000000000)
{%- endmacro %}
