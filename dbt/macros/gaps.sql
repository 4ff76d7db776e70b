{#
    At the end of a run, turn on DuckDB's vacuum, which reuses the space of deleted rows and merges small row groups.
    DuckDB would do so at every checkpoint, which on a large warehouse costs more per day than the new rows do, so the
    file is opened with it off. It is turned on until dbt closes the file if the tables are small or if a table that
    was built has large gaps.

    few_rows  below this number of rows in total, vacuum always
    worth     minimum number of deleted rows that makes a vacuum of a larger table worthwhile
    share     minimum share of deleted rows in a table: DuckDB merges four row groups into three at most, so it fills no
              evenly spread gaps below a quarter
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
