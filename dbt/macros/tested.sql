{#
    Tests of large tables that look at what was written since they last passed, which is as strong as to look at all:
    two rows that agree are found when the later one of them is tested.

    A test that may do so says in its first line what it looked at, as an incremental model does in its comment: the
    code, the batches, and the sequence up to which they go. When it has passed, the end of dbt's run keeps that line.
    Where it does not fit any more, because code or raw have changed, or where the table was built anew, or with
    --full-refresh, the test looks at all rows again. So does every test that has failed or was not reached.
#}
{% macro tested_until() -%}
    {%- set until = namespace(sequence=none) -%}
    {%- if execute and not flags.FULL_REFRESH and passed_tests_are_kept() -%}
        {%- set found = run_query("select tested from " ~ passed_tests() ~ " where test = '" ~ model.unique_id ~ "'") -%}
        {%- set tested = found.rows[0][0] if found.rows else '' -%}
        {%- set sequence = tested.split(' ')[-1] | int(-1) -%}
        {%- if sequence >= 0 and tested == built_of(sequence) -%}
            {%- set until.sequence = sequence -%}
        {%- endif -%}
    {%- endif -%}
    {{ return(until.sequence) }}
{%- endmacro %}


{# The first line of such a test: what is in the table that it looks at. #}
{% macro tests_what_is() -%}
    {%- set query = built_sequence() -%}
    {%- if execute -%}
        -- Tests what is {{ built_of(run_query(query).rows[0][0]) }}
    {%- endif -%}
{%- endmacro %}


{# At the end of a run: keeps the lines of those that have passed. #}
{% macro keep_passed_tests(results) -%}
    {%- set passed = [] -%}
    {%- for result in results if result.status == 'pass' -%}
        {%- set line = (result.node.compiled_code or '').strip().split('\n')[0] -%}
        {%- if line.startswith('-- Tests what is ') -%}
            {%- do passed.append("('" ~ result.node.unique_id ~ "', '" ~ result.node.attached_node ~ "', '" ~ line[17:].strip() ~ "')") -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if passed -%}
        create table if not exists {{ passed_tests() }} (test varchar, model varchar, tested varchar);
        delete from {{ passed_tests() }} where test in (select test from (values {{ passed | join(', ') }}) as new_ones (test, model, tested));
        insert into {{ passed_tests() }} values {{ passed | join(', ') }}
    {%- endif -%}
{%- endmacro %}


{# A table that is built anew is tested anew. #}
{% macro forget_passed_tests() -%}
    {%- if execute and passed_tests_are_kept() -%}
        {%- do run_query("delete from " ~ passed_tests() ~ " where model = '" ~ model.unique_id ~ "'") -%}
    {%- endif -%}
{%- endmacro %}


{% macro passed_tests() -%}
    {{ target.database }}.{{ generate_schema_name('ecom_staging', none) }}._passed_tests
{%- endmacro %}


{# Whether there is that table, which only the end of a run makes: asked for once a run. #}
{% macro passed_tests_are_kept() -%}
    {%- set known = graph.setdefault('passed_tests_are_kept', {}) -%}
    {%- if not known -%}
        {%- set query = "select 1 from system.information_schema.tables where table_catalog = '" ~ target.database ~ "' and table_schema || '.' || table_name = '" ~ passed_tests().split('.', 1)[1] ~ "'" -%}
        {%- do known.update({'kept': run_query(query).rows | length > 0}) -%}
    {%- endif -%}
    {{ return(known['kept']) }}
{%- endmacro %}
