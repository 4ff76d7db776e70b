{#
    The additive measures of each fact mart. The total of each must equal the total of the same name that
    models/marts/reconciliation.sql computes straight from staging. A column marked `additive` in the YAML but missing
    here fails tests/transform/test_dbt_project.py.
#}
{% macro reconciled_measures() -%}
    {%- set amounts = [
        'gross_amount', 'discount_amount', 'net_amount', 'shipping_amount', 'cancelled_amount', 'refund_amount', 'revenue'
    ] -%}
    {%- set lines = ['order_lines', 'units', 'returned_units'] -%}
    {%- set costs = ['cost_amount', 'uncosted_units'] -%}
    {%- set orders = ['orders', 'cancelled_orders'] -%}
    {%- set events = [
        'events', 'views', 'cart_adds', 'cart_removes', 'wishlist_adds', 'searches', 'purchases'
    ] -%}
    {{ return({
        'fct_order_details': lines + amounts + ['credit_amount'] + costs,
        'fct_customer_orders': orders + lines + amounts + ['credit_amount', 'source_total_amount'],
        'fct_customer_activity': events + ['sessions', 'buying_sessions', 'orders', 'cancelled_orders', 'units', 'revenue', 'reviews'],
        'fct_customer_reviews': ['reviews', 'scored_reviews', 'review_score'],
        'fct_sales_by_date': orders + lines + amounts,
        'fct_sales_by_product': lines + amounts + costs,
        'fct_sales_by_region': orders + lines + amounts,
        'fct_product_performance': lines + amounts + costs + ['events', 'views', 'cart_adds', 'purchases', 'reviews', 'scored_reviews', 'review_score_sum', 'stock_quantity'],
        'fct_product_interactions': events,
        'fct_cohort_retention': orders + ['net_amount', 'revenue'],
        'fct_funnel': ['sessions', 'viewing_sessions', 'carting_sessions', 'buying_sessions'],
        'fct_customer_segments': orders + ['revenue'],
        'fct_basket_pairs': ['orders_with_both'],
        'fct_fulfilment': orders + [
            'shipped_orders', 'delivered_orders', 'promised_deliveries', 'late_deliveries', 'overdue_orders',
            'returned_orders', 'timed_shipments', 'days_to_ship', 'timed_deliveries', 'days_to_deliver',
            'units', 'returned_units', 'refund_amount'
        ],
        'fct_product_changes': ['launches', 'price_changes'],
        'fct_inventory_cover': ['stock_quantity', 'stock_value', 'recent_units'],
    }) }}
{%- endmacro %}


{# The total of each measure, with one type for money and counts alike. #}
{% macro sums_of(measures) -%}
    {%- for measure in measures -%}
        cast(coalesce(sum({{ measure }}), 0) as decimal(38, 2)) as {{ measure }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
