{# Set DuckDB's threads to DUCKBOOK_THREADS, if set. Marts are the same with any number. #}
{% macro set_threads() -%}
    {%- if env_var('DUCKBOOK_THREADS', '') and target.name != 'motherduck' -%}
        set threads = {{ env_var('DUCKBOOK_THREADS') | int }}
    {%- endif -%}
{%- endmacro %}
