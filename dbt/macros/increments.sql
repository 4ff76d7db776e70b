{#
    Incremental models: each table records what it was built from, and an increment adds what has landed since.

    What is new is decided by the order in which batches were loaded (their sequence), never by a time of the source,
    because batches arrive late. A table's comment has the last sequence that it was built from, a digest of the
    batches up to it and a checksum of the code. It is set in the transaction that builds the table, so a killed build
    leaves both unchanged. If a model, macro, seed or variable has changed, or raw holds other batches than before, the
    model is rebuilt from scratch.
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


{#
    The sequence up to which this model was built; none if it must be rebuilt. Several macros ask for it per model, so
    it is cached in `graph`, the one object that all macros of a run share.
#}
{% macro built_until() -%}
    {%- if execute -%}
        {%- set known = graph.setdefault('built_until', {}) -%}
        {%- if model.unique_id not in known -%}
            {%- set query -%}
                -- On a lake, duckdb_tables() would query the size of every table.
                select table_comment as comment from system.information_schema.tables
                where
                    table_catalog = '{{ this.database }}'
                    and table_schema = '{{ this.schema }}'
                    and table_name = '{{ this.identifier }}'
            {%- endset -%}
            {%- set found = run_query(query) -%}
            {%- set comment = (found.rows[0][0] if found.rows else none) or '' -%}
            {%- set sequence = comment.split(' ')[-1] | int(-1) -%}
            {%- set fits = sequence >= 0 and comment == built_of(sequence) -%}
            {%- do known.update({model.unique_id: sequence if fits else none}) -%}
        {%- endif -%}
        {{ return(known[model.unique_id]) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}


{# The table comment of this model, when it is built from all batches up to a sequence. #}
{% macro built_of(sequence) -%}
    {{ return('Built by code ' ~ code_checksum() ~ ' of batches ' ~ digest_of_batches(sequence) ~ ' up to ' ~ sequence) }}
{%- endmacro %}


{# A digest of all batches up to a sequence, cached per run, because dbt loads none. #}
{% macro digest_of_batches(sequence) -%}
    {%- set known = graph.setdefault('digest_of_batches', {}) -%}
    {%- if sequence not in known -%}
        {%- set query -%}
            select md5(coalesce(string_agg(concat_ws('|', batch_id, content_hash, appended, unchanged), ',' order by sequence, batch_id), ''))
            from {{ source('ecom_raw', 'batches') }}
            where sequence <= {{ sequence }}
        {%- endset -%}
        {%- do known.update({sequence: run_query(query).rows[0][0]}) -%}
    {%- endif -%}
    {{ return(known[sequence]) }}
{%- endmacro %}


{# The hook that sets the comment on the table. #}
{% macro keep_built_of() -%}
    {%- set query = built_sequence() -%}
    {%- if execute -%}
        {%- if not is_incremental() -%}
            {%- do forget_passed_tests() -%}
        {%- endif -%}
        comment on table {{ this }} is '{{ built_of(run_query(query).rows[0][0]) }}'
        {%- if target.name == 'motherduck' -%}
            ; drop table if exists {{ written_down() }}; drop table if exists {{ written_down('affected') }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#
    A query for the sequence up to which the inputs of this node are built: the newest batch, or the lowest that the
    upstream models reached. So a layer built on a failed or skipped one does not record batches that it has not read.
#}
{% macro built_sequence() -%}
    {%- set names = [] -%}
    {%- for unique_id in upstream() if unique_id != model.unique_id -%}
        {%- do names.append(unique_id.split('.')[-1]) -%}
    {%- endfor -%}
    select least(
        (select coalesce(max(sequence), 0) from {{ ref('stg_batches') }}),
        (
            select min(cast(string_split(table_comment, ' ')[-1] as bigint)) from system.information_schema.tables
            where
                table_catalog = '{{ target.database }}'
                and table_comment like 'Built by code % up to %'
                and table_name in ('{{ names | join("', '") }}')
        )
    )
{%- endmacro %}


{# The ids of this model and of all upstream models and seeds. #}
{% macro upstream() -%}
    {%- set known = graph.setdefault('upstream', {}) if execute else {} -%}
    {%- if model.unique_id not in known -%}
        {%- set waiting = [model.unique_id] -%}
        {%- set found = [] -%}
        {%- for _ in (graph.nodes if execute else []) -%}
            {%- if waiting -%}
                {%- set node = graph.nodes[waiting.pop()] -%}
                {%- do found.append(node.unique_id) -%}
                {%- for before in node.depends_on.nodes -%}
                    {%- if before in graph.nodes and before not in found and before not in waiting -%}
                        {%- do waiting.append(before) -%}
                    {%- endif -%}
                {%- endfor -%}
            {%- endif -%}
        {%- endfor -%}
        {%- do known.update({model.unique_id: found | sort}) -%}
    {%- endif -%}
    {{ return(known[model.unique_id]) }}
{%- endmacro %}


{# A checksum of this model, everything upstream, the macros, and the variables and settings that they name. #}
{% macro code_checksum() -%}
    {%- set known = graph.setdefault('code_checksum', {}) -%}
    {%- if model.unique_id not in known -%}
        {%- set macros = code_of_macros(model.resource_type == 'test') -%}
        {%- set parts = [macros.checksum] -%}
        {%- set texts = [] -%}
        {%- for unique_id in upstream() -%}
            {%- do parts.append(graph.nodes[unique_id].checksum.checksum) -%}
            {%- do texts.append(graph.nodes[unique_id].raw_code) -%}
        {%- endfor -%}
        {%- set named = names_in(texts | join('\n')) -%}
        {%- for name in (named.variables + macros.variables) | unique | sort -%}
            {%- do parts.append(name ~ '=' ~ var(name)) -%}
        {%- endfor -%}
        {%- for name in (named.settings + macros.settings) | unique | sort if name != 'DUCKBOOK_THREADS' -%}
            {%- do parts.append(name ~ '=' ~ env_var(name, '')) -%}
        {%- endfor -%}
        {%- do known.update({model.unique_id: local_md5(parts | join('\n'))}) -%}
    {%- endif -%}
    {{ return(known[model.unique_id]) }}
{%- endmacro %}


{# A checksum of all macros, optionally with those of tests, and of what they name; cached per run. #}
{% macro code_of_macros(with_tests) -%}
    {%- set known = graph.setdefault('code_of_macros', {}) -%}
    {%- if with_tests not in known -%}
        {%- set texts = [] -%}
        {%- for name, macro in context[project_name].items() | sort(attribute='0') if with_tests or not name.startswith('test_') -%}
            {%- do texts.append(macro.macro.macro_sql) -%}
        {%- endfor -%}
        {%- set code = texts | join('\n') -%}
        {%- do known.update({with_tests: dict(names_in(code), checksum=local_md5(code))}) -%}
    {%- endif -%}
    {{ return(known[with_tests]) }}
{%- endmacro %}


{# The dbt variables and environment settings that a text names. #}
{% macro names_in(code) -%}
    {{ return({
        'variables': modules.re.findall("\\bvar\\(['\"](\\w+)", code),
        'settings': modules.re.findall("\\benv_var\\(['\"](\\w+)", code),
    }) }}
{%- endmacro %}
