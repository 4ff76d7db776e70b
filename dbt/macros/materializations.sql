{#
    Replace a table or view by dropping and creating it in one transaction, so that a reader sees the old one or the
    new one, and a killed build leaves the old one. DuckDB, MotherDuck and DuckLake support this. dbt's own
    materializations create a second relation and rename both, which takes five more statements per model.
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


{# Drop a relation of the other kind, if a model has changed from a view to a table or back. #}
{% macro drop_another_kind(target) %}
    {%- set existing = load_cached_relation(target) -%}
    {%- if existing is not none and existing.type != target.type -%}
        {% do adapter.drop_relation(existing) %}
    {%- endif -%}
{% endmacro %}


{#
    A test of many columns reports the number of failures per column in the response of its result, so that a large
    table is not queried twice. The failures are kept in a temporary table. MotherDuck has none, and is queried twice.
#}
{% materialization test, adapter='duckdb' %}
    {%- if (model.test_metadata or {}).name != 'keys_and_values_are_known' or should_store_failures() -%}
        {{ return(materialization_test_default()) }}
    {%- endif -%}
    {%- set found = get_limit_subquery_sql(sql, config.get('limit')) -%}
    {%- if target.name != 'motherduck' -%}
        {% call statement() -%}
            create or replace temporary table _found_by_test as {{ found }}
        {%- endcall %}
        {%- set found = 'select * from _found_by_test' -%}
    {%- endif -%}
    {% call statement('main', fetch_result=True) -%}
        {{ get_test_sql(found, config.get('fail_calc'), config.get('warn_if'), config.get('error_if'), limit=none) }}
    {%- endcall %}
    {%- set main = load_result('main') -%}
    {%- if main['data'][0][0] -%}
        {%- set query -%}
            select string_agg(column_name || ' (' || format('{:,}', rows_found) || ')', ', ' order by column_name)
            from (select column_name, count(*) as rows_found from ({{ found }}) group by column_name)
        {%- endset -%}
        {%- set told = run_query(query).rows[0][0] -%}
        {%- do store_raw_result('main', message=told, code='OK', rows_affected=-1, agate_table=main['table']) -%}
    {%- endif -%}
    {{ return({'relations': []}) }}
{% endmaterialization %}
