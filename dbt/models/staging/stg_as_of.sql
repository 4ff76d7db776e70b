{{ config(materialized='table') }}

with

source as (

    select * from {{ source('ecom_raw', 'as_of') }}

),

-- Fixed when staging is built: marts built from it have this as-of date, whatever is ingested later.
newest as (

    select max(as_of) as as_of from source

)

select * from newest
