{#
    How a table and a view are replaced: dropped and made anew in one transaction, so that a reader sees the old one or
    the new one, and a build that is killed leaves the old one. DuckDB, MotherDuck and DuckLake can do so; dbt's own
    materializations make another one beside it and rename both, which costs each model five statements more.
#}
{% materialization table, adapter='duckdb' %}
    {%- set target = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks) }}
    {% do drop_another_kind(target) %}
    {% call statement('main') -%}
        drop table if exists {{ target }};
        {{ create_table_as(false, target, compiled_code) }}
    {%- endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target, model) %}
    {% do adapter.commit() %}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{% materialization view, adapter='duckdb' %}
    {%- set target = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks) }}
    {% do drop_another_kind(target) %}
    {% call statement('main') -%}
        drop view if exists {{ target }};
        {{ create_view_as(target, compiled_code) }}
    {%- endcall %}
    {{ run_hooks(post_hooks) }}
    {% do persist_docs(target, model) %}
    {% do adapter.commit() %}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}


{# A model that was a view and is a table now, or the other way round. #}
{% macro drop_another_kind(target) %}
    {%- set existing = load_cached_relation(target) -%}
    {%- if existing is not none and existing.type != target.type -%}
        {% do adapter.drop_relation(existing) %}
    {%- endif -%}
{% endmacro %}
