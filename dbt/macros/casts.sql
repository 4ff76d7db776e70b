{#
    How a raw text becomes a typed value. Blank text is null. A text that cannot be cast is null too, and `rejection`
    then sets the row aside: nothing is guessed. Every cast here has a name that says what comes out.
#}

{% macro as_text(column) -%}
    nullif(trim({{ column }}), '')
{%- endmacro %}


{# One spelling of a value out of a short list; a value that is new is kept. #}
{% macro as_enum(column) -%}
    lower(nullif(trim({{ column }}), ''))
{%- endmacro %}


{# An id stays text. '123.0', as a spreadsheet or a data frame writes it, is 123. #}
{% macro as_id(column) -%}
    nullif(case when ends_with(trim({{ column }}), '.0') then regexp_replace(trim({{ column }}), '^(-?[0-9]+)[.]0$', '\1') else trim({{ column }}) end, '')
{%- endmacro %}


{% macro as_decimal(column, precision=18, scale=2) -%}
    try_cast(nullif(trim({{ column }}), '') as decimal({{ precision }}, {{ scale }}))
{%- endmacro %}


{# '3.0' and '1e2' are whole numbers, '2.5' is not: a cast to integer alone would round it. #}
{% macro as_integer(column) -%}
    case when try_cast(trim({{ column }}) as decimal(18, 4)) % 1 = 0 then try_cast(trim({{ column }}) as integer) end
{%- endmacro %}


{% macro as_boolean(column) -%}
    case when trim({{ column }}) in ('1.0', '0.0') then trim({{ column }}) = '1.0' else try_cast(trim({{ column }}) as boolean) end
{%- endmacro %}


{#
    A time in UTC. A cast to timestamp drops an offset in silence, so a text with one goes through timestamptz; a text
    without one is UTC already. A time outside of 1900 to 2199 is a mistake or a filler, and would stretch dim_dates.
#}
{% macro as_timestamp(column) -%}
    {%- set text = 'trim(' ~ column ~ ')' -%}
    {%- set cast -%}
    case
        {#- Most are written this way: neither trimmed nor looked through for an offset, they take a third of the time. #}
        when {{ column }} like '____-__-_____:__:__' and not ends_with({{ column }}, ' ')
            then try_cast({{ column }} as timestamp)
        when contains(substr({{ text }}, 12), '+') or contains(substr({{ text }}, 12), '-') or (length({{ text }}) > 19 and regexp_matches(substr({{ text }}, 20), '[A-Za-z]{2}'))
            then try_cast({{ text }} as timestamptz) at time zone 'UTC'
        else try_cast({{ text }} as timestamp)
    end
    {%- endset -%}
    case when {{ cast }} >= timestamp '1900-01-01' and {{ cast }} < timestamp '2200-01-01' then {{ cast }} end
{%- endmacro %}


{# The cast that a data type of the sources file asks for. #}
{% macro as_type(column, data_type) -%}
    {%- set name = data_type | lower | replace(' ', '') -%}
    {%- if name.startswith('decimal(') -%}
        {%- set sizes = name[8:-1].split(',') -%}
        {{ as_decimal(column, sizes[0], sizes[1]) }}
    {%- elif name == 'integer' -%}{{ as_integer(column) }}
    {%- elif name == 'boolean' -%}{{ as_boolean(column) }}
    {%- elif name == 'timestamp' -%}{{ as_timestamp(column) }}
    {%- elif name == 'varchar' -%}{{ as_text(column) }}
    {%- else -%}{{ exceptions.raise_compiler_error("No cast to " ~ data_type ~ " for column " ~ column ~ ": add one to macros/casts.sql.") }}
    {%- endif -%}
{%- endmacro %}
