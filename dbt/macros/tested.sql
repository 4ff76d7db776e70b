{#
    Incremental tests of large tables: they check the rows written since they last passed. This finds as much as a
    check of all rows: of two rows that agree, the later one is found when it is tested.

    Such a test has a first line that says what it checked, as the comment of an incremental model does: the code, the
    batches, and their last sequence. When it has passed, the end of dbt's run saves that line. If the saved line no
    longer fits, because the code or raw has changed, if the table was rebuilt, or with --full-refresh, the test checks
    all rows. So does a test that failed or was skipped.
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


{# The first line of such a test: what the table that it checks was built from. #}
{% macro tests_what_is() -%}
    {%- set query = built_sequence() -%}
    {%- if execute -%}
        -- Tests what is {{ built_of(run_query(query).rows[0][0]) }}
    {%- endif -%}
{%- endmacro %}


{# At the end of a run: save the lines of the tests that passed. #}
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


{# Delete the saved lines of a table that is rebuilt, so that it is tested in full. #}
{% macro forget_passed_tests() -%}
    {%- if execute and passed_tests_are_kept() -%}
        {%- do run_query("delete from " ~ passed_tests() ~ " where model = '" ~ model.unique_id ~ "'") -%}
    {%- endif -%}
{%- endmacro %}


{% macro passed_tests() -%}
    {{ target.database }}.{{ generate_schema_name('ecom_staging', none) }}._passed_tests
{%- endmacro %}


{# Whether the table of saved lines exists, which the end of a run creates; cached per run. #}
{% macro passed_tests_are_kept() -%}
    {%- set known = graph.setdefault('passed_tests_are_kept', {}) -%}
    {%- if not known -%}
        {%- set query = "select 1 from system.information_schema.tables where table_catalog = '" ~ target.database ~ "' and table_schema || '.' || table_name = '" ~ passed_tests().split('.', 1)[1] ~ "'" -%}
        {%- do known.update({'kept': run_query(query).rows | length > 0}) -%}
    {%- endif -%}
    {{ return(known['kept']) }}
{%- endmacro %}
