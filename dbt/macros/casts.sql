{#
    How a raw text becomes a typed value. Blank text is null. A text that cannot be cast is null too, and `rejection`
    then sets the row aside: nothing is guessed. Every cast here has a name that says what comes out.
#}

{% macro as_text(column) -%}
    nullif(trim({{ column }}), '')
{%- endmacro %}


{# A name that people group by (a city, a brand): white space around it goes, and within it becomes one space. #}
{% macro as_name(column) -%}
    nullif(trim(regexp_replace({{ column }}, '[\s\p{Z}]+', ' ', 'g')), '')
{%- endmacro %}


{# One spelling of a value out of a short list: a name in lower case. A value that is new is kept. #}
{% macro as_enum(column) -%}
    lower({{ as_name(column) }})
{%- endmacro %}


{#
    The status of an order: the one that stands for the shop's own word, or that word where no list has it. Hyphens,
    underscores and white space are one; WooCommerce writes wc- before each of its own. What the setting says of a word
    counts before the lists, of our own words too.
#}
{% macro as_order_status(column) -%}
    {%- set said = {} -%}
    {%- set lists = var('order_statuses') -%}
    {#- A linter knows no variables. -#}
    {%- for status, words in (lists.items() if lists is mapping else []) -%}
        {%- for word in [status] + words -%}
            {%- do said.update({word: status}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for pair in (env_var('DUCKBOOK_ORDER_STATUSES', '') or '').split(',') if pair -%}
        {%- set word, status = pair.split('=') -%}
        {%- do said.update({word: status}) -%}
    {%- endfor -%}
    {%- set word = "regexp_replace(regexp_replace(" ~ as_enum(column) ~ ", '[ _-]+', '_', 'g'), '^wc_', '')" -%}
    case
        when {{ column }} is null then null
        {%- for status in said.values() | unique %}
        when {{ word }} in (
            {%- for one, meant in said.items() if meant == status %}'{{ one | replace("'", "''") }}'{{ ', ' if not loop.last }}{% endfor -%}
        ) then '{{ status }}'
        {%- endfor %}
        else {{ as_enum(column) }}
    end
{%- endmacro %}


{# An id stays text. '123.0', as a spreadsheet or a data frame writes it, is 123. #}
{% macro as_id(column) -%}
    nullif(case when ends_with(trim({{ column }}), '.0') then regexp_replace(trim({{ column }}), '^(-?[0-9]+)[.]0$', '\1') else trim({{ column }}) end, '')
{%- endmacro %}


{#
    DuckDB would read '1_000' as 1000, so the underscore is made a sign that no number has. It may round a
    number with an exponent wrongly ('.5e-3' is 0.01 there), so such a number goes through one of 18 places.
#}
{% macro as_decimal(column, precision=14, scale=2) -%}
    {%- set text = "replace(trim(" ~ column ~ "), '_', '?')" -%}
    case
        when contains(lower({{ column }}), 'e')
            then try_cast(try_cast({{ text }} as decimal(38, 18)) as decimal({{ precision }}, {{ scale }}))
        else try_cast({{ text }} as decimal({{ precision }}, {{ scale }}))
    end
{%- endmacro %}


{#
    '3.0' and '1e2' are whole numbers, '2.5' and '2.00001' are not: a cast to integer alone would round them. What is not
    written as DuckDB writes a number goes through a decimal of 18 places, unless it has more of them, or would lose some
    by a negative exponent. A decimal has no underscores, see above, and is never hexadecimal.
#}
{% macro as_integer(column) -%}
    {%- set decimal = "try_cast(replace(trim(" ~ column ~ "), '_', '?') as decimal(38, 18))" -%}
    case
        when cast(try_cast({{ column }} as integer) as varchar) = {{ column }} then try_cast({{ column }} as integer)
        when {{ decimal }} % 1 = 0 and not regexp_matches({{ column }}, '[eE]-|[.][0-9]{19}')
            then try_cast({{ decimal }} as integer)
    end
{%- endmacro %}


{# True, t, yes, y, 1 and 1.0 are true; false, f, no, n, 0 and 0.0 are false; in any case of letters. #}
{% macro as_boolean(column) -%}
    case when trim({{ column }}) in ('1.0', '0.0') then trim({{ column }}) = '1.0' else try_cast(trim({{ column }}) as boolean) end
{%- endmacro %}


{#
    A time in UTC, in the form of ISO 8601: a day, or a day and a time, with an offset or without one. A cast to timestamp
    drops an offset in silence, so a text with one goes through timestamptz; a text without one is UTC already. Whatever
    else DuckDB takes for a time ('epoch', names of time zones) is none. A time outside of 1900 to 2199 is a mistake or a
    filler, and would stretch dim_dates.
#}
{% macro as_timestamp(column) -%}
    {%- set text = 'trim(' ~ column ~ ')' -%}
    {%- set day = '[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}' -%}
    {%- set time = '[ T]+[0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}([.][0-9]+)?)?' -%}
    {%- set offset = '(Z|[+-][01][0-9](:?[0-5][0-9])?| UTC)' -%}
    {#- DuckDB reads an offset after seconds alone. -#}
    {%- set short = "'^(" ~ day ~ "[ T]+[0-9]{1,2}:[0-9]{1,2})(Z|[+-]| UTC)'" -%}
    {%- set whole = 'regexp_replace(' ~ text ~ ', ' ~ short ~ ", '\\1:00\\2')" -%}
    {%- set cast -%}
    case
        {#- Most are written this way: neither trimmed nor looked through for an offset, they take a third of the time. #}
        when
            ({{ column }} like '____-__-__ __:__:__' or {{ column }} like '____-__-__T__:__:__')
            and not ends_with({{ column }}, ' ')
            then try_cast({{ column }} as timestamp)
        when regexp_full_match({{ text }}, '{{ day }}({{ time }})?') then try_cast({{ text }} as timestamp)
        when regexp_full_match({{ text }}, '{{ day }}{{ time }}{{ offset }}')
            then try_cast({{ whole }} as timestamptz) at time zone 'UTC'
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
