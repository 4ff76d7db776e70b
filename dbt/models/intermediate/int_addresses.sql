{{ config(
    materialized='incremental', incremental_strategy='groups', unique_key=['address'],
    pre_hook='{{ write_down(affected_addresses()) }}', post_hook='{{ keep_built_of() }}'
) }}

-- depends_on: {{ ref('base_orders') }}, {{ ref('stg_batches') }}
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

    -- A line break separates the parts of an address as a comma does.
    select
        address,
        times_used,
        list_filter(
            list_transform(string_split(regexp_replace(address, '[\r\n]+', ',', 'g'), ','), lambda part: trim(part)),
            lambda part: part <> ''
        ) as parts
    from addresses

),

read_from_the_end as (

    select
        address,
        times_used,
        parts,
        len(parts) as part_count,
        -- 'IL 62701', or 'FPO AP 96601', where the city stands in the same part.
        regexp_extract(
            parts[-1],
            '^(.*?)\s*\b([A-Za-z]{2})\s+([0-9]{5}(?:-[0-9]{4})?)$',
            ['city', 'state', 'postal_code']
        ) as tail
    from split

),

recognised as (

    select
        address,
        times_used,
        parts,
        part_count,
        tail,
        tail['postal_code'] <> '' as has_tail,
        tail['city'] <> '' as has_city_in_tail,
        -- 'Springfield', but not 'Apt 4': a city has no digit.
        not regexp_matches(parts[-1], '[0-9]') as ends_in_words
    from read_from_the_end

),

parsed as (

    select
        address,
        times_used,
        case
            when part_count = 1 then case when has_tail then null else parts[1] end
            when has_tail and (has_city_in_tail or part_count = 2) then array_to_string(parts[:-2], ', ')
            when has_tail then array_to_string(parts[:-3], ', ')
            when ends_in_words then array_to_string(parts[:-2], ', ')
            else array_to_string(parts, ', ')
        end as street,
        {{ as_name("""
            case
                when has_city_in_tail then tail['city']
                when has_tail and part_count > 2 then parts[-2]
                when not has_tail and part_count > 1 and ends_in_words then parts[-1]
            end
        """) }} as city,
        case when has_tail then upper(tail['state']) end as state,
        case when has_tail then tail['postal_code'] end as postal_code
    from recognised

),

-- An address names no country: it is in the country of the customers who live in its city and state.
countries as (

    {{ countries_of_cities() }}

),

joined as (

    select
        {{ surrogate_key(['parsed.address']) }} as address_key,
        parsed.address,
        parsed.street,
        parsed.city,
        parsed.state,
        parsed.postal_code,
        {{ country_of('parsed', 'countries') }} as country,
        parsed.times_used
    from parsed
    left join countries
        on lower(parsed.city) = countries.city and parsed.state = countries.state

)

select
    joined.*,
    case
        when joined.city is not null or joined.state is not null
            then {{ location_key('joined.city', 'joined.state', 'joined.country') }}
        else {{ unknown_key() }}
    end as location_key
from joined
