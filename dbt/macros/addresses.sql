{# A query for the country of each city and state: that of the customers who live there. #}
{% macro countries_of_cities() -%}
    select
        lower(city) as city,
        state,
        min(country) as country
    from {{ ref('stg_customers') }}
    where city is not null and state is not null and country is not null
    group by lower(city), state
{%- endmacro %}


{# The country of an address, which names none: by its city and state, and where nobody lives there, that of the store. #}
{% macro country_of(addresses, countries) -%}
    case
        when {{ addresses }}.state is not null then coalesce({{ countries }}.country, '{{ var("home_country") }}')
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
