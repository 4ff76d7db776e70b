{#
    The keys that an increment is about, written down in a table of their own before it is built. A planner that has to
    guess how many a query gives guesses a share of the large table, and may hash that one instead of the few keys; of a
    table it knows. The table lasts as long as dbt's connection. MotherDuck has none of that kind: there `keep_built_of`
    takes it away again.
#}

{# The hook that writes down what a query gives; `what` is a word for it. #}
{% macro write_down(query, what='keys') -%}
    {%- if is_incremental() -%}
        create or replace {{ 'table' if target.name == 'motherduck' else 'temporary table' }} {{ written_down(what) }} as
        {{ query }}
    {%- endif -%}
{%- endmacro %}


{# What this model has written down. #}
{% macro written_down(what='keys') -%}
    {%- set name = '_' ~ what ~ '_of_' ~ (this | string).split('.')[-1].replace('"', '') -%}
    {{ this.database ~ '.' ~ this.schema ~ '.' ~ name if target.name == 'motherduck' else name }}
{%- endmacro %}
