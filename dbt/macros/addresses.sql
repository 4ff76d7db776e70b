{# The country of the shop, by its English name. #}
{% macro home_country() -%}
    '{{ var('home_country') }}'
{%- endmacro %}


{# Whether a spelling is a state of the United States, by code or name. #}
{% macro is_american_state(spelling) -%}
    {{ states() }}['united states|' || {{ spelling }}] is not null
{%- endmacro %}


{# The pattern of a postal code: digits, or the form of the United Kingdom or of Canada. #}
{% macro postal_code() -%}
    [0-9]{4,6}(?:-[0-9]{3,4})?|[0-9]{3}[ -][0-9]{2,4}|[0-9]{2}-[0-9]{3}|[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}|[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]
{%- endmacro %}


{# Whether the words after a number are a street; otherwise they are a city after its postal code. #}
{% macro is_street(words) -%}
    regexp_matches({{ words }}, '\b(st|street|ave|avenue|rd|road|blvd|boulevard|dr|drive|ln|lane|way|ct|court|pl|place|sq|square|hwy|highway|pkwy|parkway)[.]?$', 'i')
{%- endmacro %}


{# Whether words without a digit are a part of a building: 'Apt B' is not a city. #}
{% macro is_part_of_a_building(words) -%}
    regexp_matches({{ words }}, '^(apt|apartment|suite|ste|unit|floor|flat|room|rm|po box|bldg|building|c/o)\b', 'i')
{%- endmacro %}


{# Cities that share the name of their state. Addresses there name districts and leave out the state. #}
{% macro cities_of_their_state() -%}
    'sao paulo', 'rio de janeiro', 'mexico', 'ciudad de mexico', 'delhi', 'chandigarh'
{%- endmacro %}


{#
    A query for the country of each city, by city and state and by city alone: the country of most customers who live
    there. A tie goes to the shop's country, else to the first in the alphabet.
#}
{% macro countries_of_cities() -%}
    select
        lower(city) as city,
        state,
        min(country) as country
    from (
        select
            city,
            state,
            country
        from {{ ref('stg_customers') }}
        where state is not null

        union all

        select
            city,
            null as state,
            country
        from {{ ref('stg_customers') }}
    )
    where city is not null and country is not null
    group by lower(city), state, lower(country)
    qualify row_number() over (
        partition by lower(city), state
        order by count(*) desc, lower(country) = lower({{ home_country() }}) desc, lower(country) asc
    ) = 1
{%- endmacro %}


{#
    A query for the country of an address that nothing else determines: the country of most customers who order to it,
    with the same tie-breaks.

    addresses  relation with address, city, state and stated_country
#}
{% macro countries_of_orderers(addresses) -%}
    select
        untold.address,
        min(customers.country) as country
    from {{ addresses }} as untold
    inner join {{ ref('stg_orders') }} as orders
        on untold.address in (orders.shipping_address, orders.billing_address)
    inner join {{ ref('stg_customers') }} as customers
        on orders.customer_id = customers.customer_id
    where
        untold.stated_country is null
        and {{ is_placed('untold') }}
        and not {{ is_of_home('untold') }}
        and customers.country is not null
    group by untold.address, lower(customers.country)
    qualify row_number() over (
        partition by untold.address
        order by count(*) desc, lower(customers.country) = lower({{ home_country() }}) desc, lower(customers.country) asc
    ) = 1
{%- endmacro %}


{# Whether an address names a place within a country. #}
{% macro is_placed(addresses) -%}
    ({{ addresses }}.city is not null or {{ addresses }}.state is not null)
{%- endmacro %}


{# Whether an address without a country is in the shop's country, because it has a state of it. #}
{% macro is_of_home(addresses) -%}
    ({{ addresses }}.state is not null
    {%- if var('home_country') == 'United States' %} and {{ is_american_state('lower(' ~ addresses ~ '.state)') }}{% endif %})
{%- endmacro %}


{#
    The country of an address, from the first that is known: the country that it states, that of the customers who live
    in its city, the shop's if it has a state of it, that of the customers who order to it.
#}
{% macro country_of(addresses, countries, orderers) -%}
    case
        when {{ addresses }}.stated_country is not null then {{ addresses }}.stated_country
        when {{ is_placed(addresses) }}
            then coalesce(
                {{ countries }}.country,
                case when {{ is_of_home(addresses) }} then {{ home_country() }} end,
                {{ orderers }}.country
            )
    end
{%- endmacro %}


{#
    A query for the addresses that an increment of int_addresses rebuilds: those in a current or earlier version of a
    changed order, and those whose country has changed with the customers of their city or the customers who order to
    them.
#}
{% macro affected_addresses() -%}
    with

    orders as (

        select
            shipping_address,
            billing_address
        from {{ ref('base_orders') }}
        where _key in ({{ touched_keys('orders', undated=ref('base_orders')) }})

    ),

    countries as (

        {{ countries_of_cities() }}

    ),

    orderers as (

        {{ countries_of_orderers(this) }}

    )

    select shipping_address as address from orders

    union all

    select billing_address as address from orders

    union all

    select built.address
    from {{ this }} as built
    left join countries
        on lower(built.city) = countries.city and built.state is not distinct from countries.state
    left join orderers
        on built.address = orderers.address
    where built.country is distinct from {{ country_of('built', 'countries', 'orderers') }}
{%- endmacro %}
