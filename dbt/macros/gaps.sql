{#
    At the end of a run: whether the room of rows that were taken out is used again, and small groups of rows are put
    together. DuckDB would do so whenever the file is written, which costs a day of a large store more than its new rows
    do; the file is opened with that turned off. Here it is turned on for the time until dbt closes the file, where it
    costs little, or where it helps a table that was built.

    few_rows  of how many rows in all it costs little
    worth     for how many rows in the gaps of a table it is worth while to go through more than that
    share     the share of a table that these have to be: DuckDB puts four groups of rows together into three at most,
              so that of gaps that are spread evenly it fills none below a quarter
#}
{% macro fill_gaps(results, few_rows=1000000, worth=1000000, share=0.25) -%}
    {%- set counts = [] -%}
    {%- for result in results if result.status == 'success' and result.node.config.materialized == 'incremental' and target.name == 'duckdb' -%}
        {%- set node = result.node -%}
        {%- do counts.append(
            "select estimated_size as held, (select count(*) from " ~ node.relation_name ~ ") as rows_left from duckdb_tables() "
            ~ "where database_name = current_database() and schema_name = '" ~ node.schema ~ "' and table_name = '" ~ node.alias ~ "'"
        ) -%}
    {%- endfor -%}
    {%- if counts and execute -%}
        {%- set query = "select sum(held) < " ~ few_rows ~ " or bool_or(held - rows_left >= greatest(" ~ share ~ " * held, " ~ worth ~ ")) from (" ~ counts | join(' union all ') ~ ")" -%}
        {%- if run_query(query).rows[0][0] -%} set max_vacuum_tasks = 100 {%- endif -%}
    {%- endif -%}
{%- endmacro %}
