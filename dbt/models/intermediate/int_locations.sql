{{ config(post_hook='{{ keep_built_of() }}') }}

with

customers as (

    -- Include former places of residence: orders went there.
    select * from {{ ref('int_customer_versions') }}

),

addresses as (

    select * from {{ ref('int_addresses') }}

),

us_states as (

    select * from {{ ref('us_states') }}

),

-- Distinct spellings with their frequency, so that keys are computed only once for each.
places as (

    select
        city,
        state,
        country,
        count(*) as times_found
    from customers
    group by city, state, country

    union all

    select
        city,
        state,
        country,
        count(*) as times_found
    from addresses
    group by city, state, country

),

keyed as (

    select
        {{ location_key('city', 'state', 'country') }} as location_key,
        city,
        state,
        lower(country) as country_key,
        sum(times_found) as times_found
    from places
    where city is not null or state is not null or country is not null
    group by all

),

spellings_of_countries as (

    select
        country,
        sum(times_found) as times_found
    from places
    group by country

),

-- Show the most frequent spelling of a country or city; ties go to the first in the alphabet.
countries as (

    select
        lower(country) as country_key,
        first(country order by times_found desc, country asc) as country
    from spellings_of_countries
    where country is not null
    group by lower(country)

),

locations as (

    select
        location_key,
        first(city order by times_found desc, city asc) as city,
        min(state) as state,
        min(country_key) as country_key
    from keyed
    group by location_key

),

joined as (

    select
        locations.location_key,
        locations.city,
        locations.state,
        us_states.state_name,
        us_states.region,
        countries.country
    from locations
    left join countries on locations.country_key = countries.country_key
    -- IN is Indiana only in the United States, and SC is also a state of Brazil.
    left join us_states
        on locations.state = us_states.state and countries.country = 'United States'

)

select * from joined
