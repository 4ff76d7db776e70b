{#
    The keys of an increment, written to a temporary table before the model is built. The planner guesses the size of a
    query's result as a share of the large table, and may then hash that table instead of the few keys; it knows the
    size of a table. MotherDuck has no temporary tables of this kind: there `keep_built_of` drops the table again.
#}

{# The hook that writes the result of a query to a temporary table; `what` is part of its name. #}
{% macro write_down(query, what='keys') -%}
    {%- if is_incremental() -%}
        create or replace {{ 'table' if target.name == 'motherduck' else 'temporary table' }} {{ written_down(what) }} as
        {{ query }}
    {%- endif -%}
{%- endmacro %}


{# The temporary table of this model. #}
{% macro written_down(what='keys') -%}
    {%- set name = '_' ~ what ~ '_of_' ~ (this | string).split('.')[-1].replace('"', '') -%}
    {{ this.database ~ '.' ~ this.schema ~ '.' ~ name if target.name == 'motherduck' else name }}
{%- endmacro %}
