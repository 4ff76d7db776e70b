{# The country of the store, by its name in English. #}
{% macro home_country() -%}
    '{{ var('home_country') }}'
{%- endmacro %}


{# Whether a spelling is a state of the United States, by its code or its name. #}
{% macro is_american_state(spelling) -%}
    {{ states() }}['united states|' || {{ spelling }}] is not null
{%- endmacro %}


{# The pattern of a postal code that stands alone: digits, those of the United Kingdom, those of Canada. #}
{% macro postal_code() -%}
    [0-9]{4,6}(?:-[0-9]{3,4})?|[0-9]{3}[ -][0-9]{2,4}|[0-9]{2}-[0-9]{3}|[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}|[A-Z][0-9][A-Z] ?[0-9][A-Z][0-9]
{%- endmacro %}


{# Whether words after a number are a street, and not a city after its code. #}
{% macro is_street(words) -%}
    regexp_matches({{ words }}, '\b(st|street|ave|avenue|rd|road|blvd|boulevard|dr|drive|ln|lane|way|ct|court|pl|place|sq|square|hwy|highway|pkwy|parkway)[.]?$', 'i')
{%- endmacro %}


{# Whether words without a digit are a part of a building: 'Apt B' is no city. #}
{% macro is_part_of_a_building(words) -%}
    regexp_matches({{ words }}, '^(apt|apartment|suite|ste|unit|floor|flat|room|rm|po box|bldg|building|c/o)\b', 'i')
{%- endmacro %}


{# Spellings of cities that are written without their state, of the same name, where an address goes by districts. #}
{% macro cities_of_their_state() -%}
    'sao paulo', 'rio de janeiro', 'mexico', 'ciudad de mexico', 'delhi', 'chandigarh'
{%- endmacro %}


{#
    A query for the country of each city, by its state and by its name alone: that of most customers who live there; of as
    many, that of the store, else the first in the alphabet.
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
    A query for the country of an address that nothing else tells: that of most customers who order to it, by the same rules.

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


{# Whether an address that states no country is in that of the store, because it has a state. #}
{% macro is_of_home(addresses) -%}
    ({{ addresses }}.state is not null
    {%- if var('home_country') == 'United States' %} and {{ is_american_state('lower(' ~ addresses ~ '.state)') }}{% endif %})
{%- endmacro %}


{#
    The country of an address: the one that it states, else that of the customers who live in its city, else that of the
    store, if it has a state of it, else that of the customers who order to it.
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
    A query for the addresses that an increment of int_addresses builds anew: those that a changed order names, or named
    before, and those that are in another country now, by the customers of their city or by those who order to them.
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
