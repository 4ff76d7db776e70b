{#
    Casts from raw text to typed values. Blank text is null. Text that cannot be cast is null as well, and `rejection`
    quarantines the row. Each cast has a name that says what it returns.
#}

{% macro as_text(column) -%}
    nullif(trim({{ column }}), '')
{%- endmacro %}


{# A name that people group by (a city, a brand), trimmed and with single spaces. #}
{% macro as_name(column) -%}
    nullif(trim(regexp_replace({{ column }}, '[\s\p{Z}]+', ' ', 'g')), '')
{%- endmacro %}


{# A value of a short list, in lower case and with one spelling. Unknown values are kept. #}
{% macro as_enum(column) -%}
    lower({{ as_name(column) }})
{%- endmacro %}


{#
    A shop's word for a status, as it is looked up: hyphens, underscores and white space are equal. WooCommerce
    prefixes each of its statuses with wc-.
#}
{% macro as_status_word(column) -%}
    regexp_replace(regexp_replace({{ as_enum(column) }}, '[ _-]+', '_', 'g'), '^wc_', '')
{%- endmacro %}


{#
    The status of an order: ours for the shop's own word, or the word itself if no list has it. The setting takes
    precedence over the lists, even for our own words.
#}
{% macro as_order_status(column) -%}
    {%- set said = {} -%}
    {%- set lists = var('order_statuses') -%}
    {#- The linter knows no variables. -#}
    {%- for status, words in (lists.items() if lists is mapping else []) -%}
        {%- for word in [status] + words -%}
            {%- do said.update({word: status}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for pair in (env_var('DUCKBOOK_ORDER_STATUSES', '') or '').split(',') if pair -%}
        {%- set word, status = pair.split('=') -%}
        {%- do said.update({word: status}) -%}
    {%- endfor -%}
    {%- set word = as_status_word(column) -%}
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


{# An id stays text. '123.0', as written by a spreadsheet or data frame, becomes '123'. #}
{% macro as_id(column) -%}
    nullif(case when ends_with(trim({{ column }}), '.0') then regexp_replace(trim({{ column }}), '^(-?[0-9]+)[.]0$', '\1') else trim({{ column }}) end, '')
{%- endmacro %}


{#
    DuckDB would read '1_000' as 1000: replace the underscore with a character that makes the cast fail. DuckDB may
    round a number with an exponent wrongly ('.5e-3' becomes 0.01), so cast such a number to 18 decimal places first.
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
    '3.0' and '1e2' are integers, '2.5' and '2.00001' are not, although a plain cast would round them. Text that is not
    in DuckDB's own form is cast to a decimal of 18 places first, unless it has more places or loses some by a negative
    exponent. A decimal has no underscores (see above) and is never hexadecimal.
#}
{% macro as_integer(column) -%}
    {%- set decimal = "try_cast(replace(trim(" ~ column ~ "), '_', '?') as decimal(38, 18))" -%}
    case
        when cast(try_cast({{ column }} as integer) as varchar) = {{ column }} then try_cast({{ column }} as integer)
        when {{ decimal }} % 1 = 0 and not regexp_matches({{ column }}, '[eE]-|[.][0-9]{19}')
            then try_cast({{ decimal }} as integer)
    end
{%- endmacro %}


{# True, t, yes, y, 1 and 1.0 are true; false, f, no, n, 0 and 0.0 are false. Case does not matter. #}
{% macro as_boolean(column) -%}
    case when trim({{ column }}) in ('1.0', '0.0') then trim({{ column }}) = '1.0' else try_cast(trim({{ column }}) as boolean) end
{%- endmacro %}


{#
    A timestamp in UTC from an ISO 8601 date or date and time, with or without an offset. Text with an offset is cast
    to timestamptz, because a cast to timestamp silently drops the offset. Text without one is UTC already. Other forms
    that DuckDB accepts ('epoch', names of time zones) become null. So do times outside 1900 to 2199: they are mistakes
    or fillers, and would stretch dim_dates.
#}
{% macro as_timestamp(column) -%}
    {%- set text = 'trim(' ~ column ~ ')' -%}
    {%- set day = '[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}' -%}
    {%- set time = '[ T]+[0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2}([.][0-9]+)?)?' -%}
    {%- set offset = '(Z|[+-][01][0-9](:?[0-5][0-9])?| UTC)' -%}
    {#- DuckDB reads an offset only after seconds. -#}
    {%- set short = "'^(" ~ day ~ "[ T]+[0-9]{1,2}:[0-9]{1,2})(Z|[+-]| UTC)'" -%}
    {%- set whole = 'regexp_replace(' ~ text ~ ', ' ~ short ~ ", '\\1:00\\2')" -%}
    {%- set cast -%}
    case
        {#- The usual form needs no trim and no search for an offset, which saves two thirds of the time. #}
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


{# The cast for a data type in the sources file. #}
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
