{#
    Incremental models: what one of them was built of is written on its table, and what has come since is added.

    New is told by the order in which batches were loaded (their sequence), never by a time of the source's, because
    batches arrive late. A table's comment keeps the sequence up to which it was built, a digest of these batches, and
    a checksum of the code that it came of: it is set in the transaction that builds the table, so a build that is
    killed leaves both as they were. Where the comment does not fit, because a model, macro, seed or variable has
    changed, or raw holds other batches than it did, the model is built anew from all that it reads.
#}
{% macro should_full_refresh() -%}
    {%- set asked = config.get('full_refresh') -%}
    {%- if asked is none -%}
        {%- set asked = flags.FULL_REFRESH -%}
    {%- endif -%}
    {%- if execute and not asked and config.get('materialized') == 'incremental' -%}
        {%- set asked = built_until() is none -%}
    {%- endif -%}
    {{ return(asked) }}
{%- endmacro %}


{# The sequence up to which this model was built; none where it has to be built anew. #}
{% macro built_until() -%}
    {%- set until = namespace(sequence=none) -%}
    {%- set query -%}
        -- On a lake duckdb_tables() asks for the size of every table.
        select table_comment as comment from system.information_schema.tables
        where
            table_catalog = '{{ this.database }}'
            and table_schema = '{{ this.schema }}'
            and table_name = '{{ this.identifier }}'
    {%- endset -%}
    {%- if execute -%}
        {%- set found = run_query(query) -%}
        {%- set comment = (found.rows[0][0] if found.rows else none) or '' -%}
        {%- set sequence = comment.split(' ')[-1] | int(-1) -%}
        {%- if sequence >= 0 and comment == built_of(sequence) -%}
            {%- set until.sequence = sequence -%}
        {%- endif -%}
    {%- endif -%}
    {{ return(until.sequence) }}
{%- endmacro %}


{# What this model is built of when all batches up to a sequence are in it. #}
{% macro built_of(sequence) -%}
    {%- set query -%}
        select md5(coalesce(string_agg(concat_ws('|', batch_id, content_hash, appended, unchanged), ',' order by sequence, batch_id), ''))
        from {{ source('ecom_raw', 'batches') }}
        where sequence <= {{ sequence }}
    {%- endset -%}
    {{ return('Built by code ' ~ code_checksum() ~ ' of batches ' ~ run_query(query).rows[0][0] ~ ' up to ' ~ sequence) }}
{%- endmacro %}


{# The hook that writes it on the table. #}
{% macro keep_built_of() -%}
    {%- set batches = ref('stg_batches') -%}
    {%- if execute -%}
        {%- set sequence = run_query('select coalesce(max(sequence), 0) from ' ~ batches).rows[0][0] -%}
        comment on table {{ this }} is '{{ built_of(sequence) }}'
    {%- endif -%}
{%- endmacro %}


{# A checksum of this model, of all that stands before it, of the macros, and of the variables and settings they read. #}
{% macro code_checksum() -%}
    {%- set waiting = [model.unique_id] -%}
    {%- set upstream = [] -%}
    {%- for _ in graph.nodes -%}
        {%- if waiting -%}
            {%- set node = graph.nodes[waiting.pop()] -%}
            {%- do upstream.append(node.unique_id) -%}
            {%- for before in node.depends_on.nodes -%}
                {%- if before in graph.nodes and before not in upstream and before not in waiting -%}
                    {%- do waiting.append(before) -%}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set parts = [var('home_country'), env_var('DUCKBOOK_ORDER_ITEMS_RENUMBERED', 'false')] -%}
    {%- for unique_id in upstream | sort -%}
        {%- do parts.append(graph.nodes[unique_id].checksum.checksum) -%}
    {%- endfor -%}
    {%- for name, macro in context[project_name].items() | sort(attribute='0') if not name.startswith('test_') -%}
        {%- do parts.append(macro.macro.macro_sql) -%}
    {%- endfor -%}
    {{ return(local_md5(parts | join('\n'))) }}
{%- endmacro %}
