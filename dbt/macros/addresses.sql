{# The country of the store, spelled as countries are. #}
{% macro home_country() -%}
    {{ as_country("'" ~ var('home_country') ~ "'") }}
{%- endmacro %}


{#
    A query for the country of each city and state: that of most customers who live there; of as many, that of the store,
    else the first in the alphabet.
#}
{% macro countries_of_cities() -%}
    select
        lower(city) as city,
        state,
        min(country) as country
    from {{ ref('stg_customers') }}
    where city is not null and state is not null and country is not null
    group by lower(city), state, lower(country)
    qualify row_number() over (
        partition by lower(city), state
        order by count(*) desc, lower(country) = lower({{ home_country() }}) desc, lower(country) asc
    ) = 1
{%- endmacro %}


{#
    The country of an address, which names none: by its city and state, and where nobody lives there, that of the store.
    Without a state it has none, because there is a Paris in Texas.
#}
{% macro country_of(addresses, countries) -%}
    case
        when {{ addresses }}.state is not null then coalesce({{ countries }}.country, {{ home_country() }})
    end
{%- endmacro %}


{#
    A query for the addresses that an increment of int_addresses builds anew: those that a changed order names, or named
    before, and those that are in another country now, by the customers of their city.
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

    )

    select shipping_address as address from orders

    union all

    select billing_address as address from orders

    union all

    select built.address
    from {{ this }} as built
    left join countries
        on lower(built.city) = countries.city and built.state = countries.state
    where built.country is distinct from {{ country_of('built', 'countries') }}
{%- endmacro %}
