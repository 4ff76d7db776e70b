with

locations as (

    select * from {{ ref('int_locations') }}

),

described as (

    select
        location_key,
        coalesce(city, 'unknown') as city,
        coalesce(state, 'unknown') as state,
        coalesce(state_name, state, 'unknown') as state_name,
        coalesce(region, 'unknown') as region,
        coalesce(country, 'unknown') as country,
        false as is_unknown
    from locations

),

unknown as (

    select
        {{ unknown_key() }} as location_key,
        'unknown' as city,
        'unknown' as state,
        'unknown' as state_name,
        'unknown' as region,
        'unknown' as country,
        true as is_unknown

)

select * from described

union all

select * from unknown
