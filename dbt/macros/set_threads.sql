{# The threads of DuckDB, where DUCKBOOK_THREADS names them; marts are the same with any number. #}
{% macro set_threads() -%}
    {%- if env_var('DUCKBOOK_THREADS', '') and target.name != 'motherduck' -%}
        set threads = {{ env_var('DUCKBOOK_THREADS') | int }}
    {%- endif -%}
{%- endmacro %}
