{{ config(post_hook='{{ keep_built_of() }}') }}

with

customers as (

    -- Places where customers lived once are places too: orders of that time went there.
    select * from {{ ref('int_customer_versions') }}

),

addresses as (

    select * from {{ ref('int_addresses') }}

),

us_states as (

    select * from {{ ref('us_states') }}

),

-- Each spelling once: a key is reckoned of those alone.
places as (

    select
        city,
        state,
        country
    from customers
    group by city, state, country

    union all

    select
        city,
        state,
        country
    from addresses
    group by city, state, country

),

locations as (

    select
        {{ location_key('city', 'state', 'country') }} as location_key,
        min(city) as city,
        min(state) as state,
        min(country) as country
    from places
    where city is not null or state is not null or country is not null
    group by {{ location_key('city', 'state', 'country') }}

),

joined as (

    select
        locations.location_key,
        locations.city,
        locations.state,
        us_states.state_name,
        us_states.region,
        locations.country
    from locations
    -- IN is Indiana in one country only.
    left join us_states
        on
            locations.state = us_states.state
            and (
                locations.country is null
                or lower(locations.country) in (
                    'united states', 'united states of america', 'usa', 'us', 'u.s.', 'u.s.a.'
                )
            )

)

select * from joined
