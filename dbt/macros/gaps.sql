{#
    At the end of a run: whether the room of rows that were taken out is used again. DuckDB does so whenever the file is
    written, by putting what is left of a table together anew, which costs a day of a large store more than its new rows
    do. For few of them that is put off until there are more.
#}
{% macro leave_gaps(results, most=0.1) -%}
    {%- set counts = [] -%}
    {%- for result in results if result.status == 'success' and result.node.config.materialized == 'incremental' and target.name == 'duckdb' -%}
        {%- set node = result.node -%}
        {%- do counts.append(
            "select estimated_size as held, (select count(*) from " ~ node.relation_name ~ ") as rows_left from duckdb_tables() "
            ~ "where database_name = current_database() and schema_name = '" ~ node.schema ~ "' and table_name = '" ~ node.alias ~ "'"
        ) -%}
    {%- endfor -%}
    {%- if counts and execute -%}
        {%- set query = "select coalesce(bool_and(held - rows_left <= " ~ most ~ " * held), true) from (" ~ counts | join(' union all ') ~ ")" -%}
        set max_vacuum_tasks = {{ 0 if run_query(query).rows[0][0] else 100 }}
    {%- endif -%}
{%- endmacro %}
