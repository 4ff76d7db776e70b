{{ config(
    materialized='incremental', incremental_strategy='groups', unique_key=['address'],
    pre_hook='{{ write_down(affected_addresses()) }}', post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_orders') }}, {{ ref('base_customers') }}, {{ ref('stg_batches') }}
{%- set canadian_code = '[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]' %}
{%- set british_code = '[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}' %}
-- 'IL 62701', or 'FPO AP 96601', with the city in the same part.
{%- set american_tail = '^(.*?)[\\s-]*\\b([A-Za-z]{2})\\s+([0-9]{5}(?:-[0-9]{4})?)$' %}
-- 'Toronto ON M5H 2N2', 'SP 01310-100'.
{%- set other_tail = '^(.*?)[\\s-]*\\b([A-Z]{2,3})[\\s-]+([0-9]{4,6}(?:-[0-9]{3,4})?|' ~ canadian_code ~ ')$' %}
-- 'London SW1A 2AA', 'California 90210', or 'Berlin 10117' before a country.
{%- set ending = '^([^0-9]*[^0-9\\s-])[\\s-]+(' ~ british_code ~ '|[0-9]{5}(?:-[0-9]{4})?)$' %}
{%- set ending_of_country = '^([^0-9]*[^0-9\\s-])[\\s-]+(' ~ postal_code() ~ ')$' %}
-- '10117 Berlin', '1012 LG Amsterdam', '111 22 Stockholm', '00-950 Warszawa'.
{%- set code_before_city = '[0-9]{4} [A-Z]{2}|[0-9]{4,6}(?:-[0-9]{3})?|[0-9]{3} [0-9]{2}|[0-9]{2}-[0-9]{3}' %}
{%- set beginning = '^(?:[A-Z]{1,3}-)?(' ~ code_before_city ~ ')\\s+([^0-9]+)$' %}
-- A code before or after a city, if two letters after it are a country rather than a state.
{%- set spelling = as_spelling('words') %}
{%- set before_country =
    '^([A-Z]{1,3}-)?[0-9]{4,6}\\s+\\pL|\\pL[\\s-]+([0-9]{5}(-[0-9]{3,4})?|' ~ canadian_code ~ ')$' %}
with

orders as not materialized (

    select * from {{ ref('stg_orders') }}

),

written as (

    select shipping_address as address from orders

    union all

    select billing_address as address from orders

),

addresses as (

    select
        address,
        count(*) as times_used
    from written
    where
        address is not null
        {%- if is_incremental() %}
        and address in (select keys.address from {{ written_down() }} as keys)
        {%- endif %}
    group by address

),

split as (

    -- Line breaks separate the parts of an address as commas do.
    select
        address,
        times_used,
        list_filter(
            list_transform(string_split(regexp_replace(address, '[\r\n]+', ',', 'g'), ','), lambda part: trim(part)),
            lambda part: part <> ''
        ) as parts
    from addresses

),

-- Read from the end: the country, in its own part or after the code ('IL 62701 USA').
ended as (

    select
        address,
        times_used,
        parts,
        {{ as_spelling('parts[-1]') }} as last_part,
        regexp_extract(parts[-1], '^(.*[0-9]\S*)\s+([^0-9]{2,})$', ['before', 'country']) as after_code,
        len(parts) > 2 and regexp_matches(parts[-2], '{{ before_country }}') as follows_code
    from split

),

with_country as (

    select
        address,
        times_used,
        parts,
        after_code,
        case
            -- Most addresses end in a code and need no lookup.
            when regexp_matches(last_part, '[0-9]') then null
            -- CA is California and Canada; Georgia is a state and a country.
            when {{ is_american_state('last_part') }} and not follows_code then null
            else {{ countries() }}[last_part]
        end as country_of_part,
        case
            when after_code['country'] <> '' then {{ countries() }}[{{ as_spelling("after_code['country']") }}]
        end as country_of_end
    from ended

),

without_country as (

    select
        address,
        times_used,
        coalesce(
            country_of_part,
            country_of_end,
            -- No other country has codes of this form.
            case
                when not regexp_matches(parts[-1], '[0-9]') then null
                when regexp_matches(parts[-1], '\b{{ canadian_code }}$') then 'Canada'
                when regexp_matches(parts[-1], '\b{{ british_code | replace(' ?', ' ') }}$')
                    -- Jersey, Guernsey and the Isle of Man use the same form.
                    then case when not regexp_matches(parts[-1], '\b(JE|GY|IM)[0-9]') then 'United Kingdom' end
                when regexp_matches(parts[-1], '(^|\b[A-Z]{2}[\s-]+)[0-9]{5}-[0-9]{3}$') then 'Brazil'
            end
        ) as stated_country,
        case
            when country_of_part is not null then parts[:-2]
            when country_of_end is not null then list_append(parts[:-2], after_code['before'])
            else parts
        end as parts
    from with_country

),

-- A code in its own part: 'London, SW1A 2AA'.
with_code as (

    select
        address,
        times_used,
        stated_country,
        coalesce(stated_country, 'United States') = 'United States' as may_be_united_states,
        case when has_code then parts[:-2] else parts end as parts,
        case when has_code then upper(parts[-1]) end as own_code
    from (
        select
            *,
            len(parts) > 1 and regexp_full_match(parts[-1], '{{ postal_code() }}', 'i') as has_code
        from without_country
    )

),

matched as (

    select
        *,
        len(parts) as part_count,
        case
            when may_be_united_states
                then regexp_extract(parts[-1], '{{ american_tail }}', ['city', 'state', 'postal_code'])
            else regexp_extract(parts[-1], '{{ other_tail }}', ['city', 'state', 'postal_code'])
        end as tail,
        case
            when may_be_united_states then regexp_extract(parts[-1], '{{ ending }}', ['words', 'postal_code'])
            else regexp_extract(parts[-1], '{{ ending_of_country }}', ['words', 'postal_code'])
        end as ending,
        case
            when len(parts) > 1 or stated_country is not null
                then regexp_extract(parts[-1], '{{ beginning }}', ['postal_code', 'words'])
        end as beginning
    from with_code

),

worded as (

    select
        *,
        case
            when tail['postal_code'] <> '' and own_code is null then 'tail'
            when
                beginning['postal_code'] <> '' and not (stated_country is not null and may_be_united_states)
                and (stated_country is not null or not {{ is_street("beginning['words']") }})
                then 'beginning'
            -- Five digits alone may be a suite. After a state that is written out they are a code.
            when
                ending['postal_code'] <> ''
                and (
                    not regexp_full_match(ending['postal_code'], '[0-9-]+')
                    or (stated_country is not null and not may_be_united_states)
                    or {{ is_american_state(as_spelling("ending['words']")) }}
                )
                then 'ending'
        end as form
    from matched

),

last_words as (

    select
        *,
        case form
            when 'tail' then tail['postal_code']
            when 'beginning' then beginning['postal_code']
            when 'ending' then ending['postal_code']
            else own_code
        end as postal_code,
        -- The rest of the last part next to its code, if it has no digit: a street and 'Apt 4' have one.
        case
            when form = 'beginning' then beginning['words']
            when form = 'ending' then ending['words']
            when form = 'tail' then null
            when not regexp_matches(parts[-1], '[0-9]') and not {{ is_part_of_a_building('parts[-1]') }} then parts[-1]
        end as words,
        -- The part before may be the city.
        case
            when
                part_count > 1 and not regexp_matches(parts[-2], '[0-9]')
                and not {{ is_part_of_a_building('parts[-2]') }} and (part_count > 2 or stated_country is not null)
                then parts[-2]
        end as words_before
    from worded

),

with_state as (

    select
        *,
        case
            when form = 'tail' then upper(tail['state'])
            when words is null then null
            -- A city or a state: a state after a city or before a code, a city after a street.
            when
                {{ as_spelling('words') }}
                in ('new york', 'washington', 'quebec', 'victoria', {{ cities_of_their_state() }})
                and (
                    (words_before is null and coalesce(form, '') <> 'ending')
                    or {{ as_spelling('words') }} in ({{ cities_of_their_state() }})
                )
                then null
            when part_count > 1 or stated_country is not null or form = 'ending'
                then coalesce(
                        {{ states() }}[lower(coalesce(stated_country, 'United States')) || '|' || {{ spelling }}],
                        case when not may_be_united_states and regexp_full_match(words, '[A-Z]{2,4}') then words end
                    )
        end as own_state,
        -- 'Florianópolis - SC', 'Portland OR'.
        regexp_extract(words, '^(.*?[^\s-])(?:\s*-\s*|\s+)([A-Z]{2,3})$', ['city', 'state']) as dashed
    from last_words

),

placed as (

    select
        *,
        coalesce(
            (form = 'tail' and tail['city'] = '') or (form is distinct from 'tail' and own_state is not null), false
        )
            as has_city_before,
        coalesce(
            dashed['state'] <> ''
            and (not may_be_united_states or {{ is_american_state("lower(dashed['state'])") }}), false
        ) as is_dashed
    from with_state

),

parsed as (

    select
        address,
        times_used,
        stated_country,
        postal_code,
        {{ as_name("""
            case
                when has_city_before then case when form = 'tail' and part_count > 2 then parts[-2] else words_before end
                when form = 'tail' then tail['city']
                when is_dashed then dashed['city']
                when part_count > 1 or form is not null or stated_country is not null then words
            end
        """) }} as city,
        case when own_state is not null then own_state when is_dashed then dashed['state'] end as state,
        has_city_before,
        parts
    from placed

),

-- The country that the address states or its code implies; else that of the customers who live in its city, the shop's
-- if the address has a state of it, or that of the customers who order to it.
countries as (

    {{ countries_of_cities() }}

),

orderers as (

    {{ countries_of_orderers('parsed') }}

),

joined as (

    select
        {{ surrogate_key(['parsed.address']) }} as address_key,
        parsed.address,
        nullif(array_to_string(
            case
                when parsed.city is null and parsed.state is null and parsed.postal_code is null then parsed.parts
                when parsed.city is not null and parsed.has_city_before then parsed.parts[:-3]
                else parsed.parts[:-2]
            end, ', '
        ), '') as street,
        parsed.city,
        parsed.state,
        parsed.postal_code,
        parsed.stated_country,
        {{ country_of('parsed', 'countries', 'orderers') }} as country,
        parsed.times_used
    from parsed
    left join countries
        on lower(parsed.city) = countries.city and parsed.state is not distinct from countries.state
    left join orderers
        on parsed.address = orderers.address

)

select
    joined.*,
    case
        when joined.city is not null or joined.state is not null or joined.country is not null
            then {{ location_key('joined.city', 'joined.state', 'joined.country') }}
        else {{ unknown_key() }}
    end as location_key
from joined
