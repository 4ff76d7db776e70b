{#
    Labels: values of a short list, computed from numbers. Each has its one definition here, with cut-offs that do not
    depend on the other customers; docs/decisions.md gives the reasons. A label that cannot be computed is null, or
    'unknown' if the unknown member has it too.
#}

{# Age in groups of ten years, except the youngest and the oldest. #}
{% macro age_group(age) -%}
    case
        when {{ age }} < 18 then 'under 18'
        when {{ age }} < 25 then '18-24'
        when {{ age }} < 35 then '25-34'
        when {{ age }} < 45 then '35-44'
        when {{ age }} < 55 then '45-54'
        when {{ age }} < 65 then '55-64'
        when {{ age }} >= 65 then '65 and over'
    end
{%- endmacro %}


{#
    The status of a customer at the as-of date. A prospect has no order, or only cancelled ones; all others are buyers.
    A buyer's status depends on the last order, even a cancelled one, because the customer was there. Columns:
    is_unknown, orders, cancelled_orders, days_since_last_order.
#}
{% macro customer_status() -%}
    case
        when is_unknown then 'unknown'
        when orders = cancelled_orders then 'prospect'
        when days_since_last_order <= {{ var('active_days') }} then 'active'
        when days_since_last_order <= {{ var('lapsed_days') }} then 'lapsing'
        when days_since_last_order > {{ var('lapsed_days') }} then 'lost'
        else 'unknown'
    end
{%- endmacro %}


{# Recency of the last order, out of 3. #}
{% macro recency_score(customer_status) -%}
    case {{ customer_status }}
        when 'active' then 3
        when 'lapsing' then 2
        when 'lost' then 1
    end
{%- endmacro %}


{#
    The segment refines the status by the number of purchases: one, two, or three and more. A customer is new if the
    first order was within the active days; a one-time buyer from before is promising. Columns: customer_status,
    orders, cancelled_orders, days_since_first_order.
#}
{% macro segment() -%}
    case customer_status
        when 'active'
            then case
                when orders - cancelled_orders >= 3 then 'champion'
                when orders - cancelled_orders = 2 then 'promising'
                when days_since_first_order > {{ var('active_days') }} then 'promising'
                else 'new'
            end
        when 'lapsing'
            then case
                when orders - cancelled_orders >= 3 then 'at risk'
                when orders - cancelled_orders = 2 then 'needs attention'
                else 'hibernating'
            end
        when 'lost' then 'lost'
        when 'prospect' then 'prospect'
        else 'unknown'
    end
{%- endmacro %}


{# The sentiment of a review, from its stars. #}
{% macro sentiment(review_score) -%}
    case
        when {{ review_score }} >= 4 then 'positive'
        when {{ review_score }} = 3 then 'neutral'
        when {{ review_score }} <= 2 then 'negative'
    end
{%- endmacro %}


{# How long the stock of a product lasts. Columns: stock_quantity, recent_units, days_of_cover. #}
{% macro cover_status() -%}
    case
        when stock_quantity is null then 'unknown'
        when stock_quantity <= 0 then 'out of stock'
        when recent_units <= 0 then 'not selling'
        when days_of_cover < {{ var('low_cover_days') }} then 'low'
        when days_of_cover > {{ var('ample_cover_days') }} then 'ample'
        else 'healthy'
    end
{%- endmacro %}
