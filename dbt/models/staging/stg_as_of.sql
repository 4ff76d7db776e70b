{{ config(materialized='table') }}

with

source as (

    select * from {{ source('ecom_raw', 'as_of') }}

),

-- Kept as staging is built: marts that are built from it are as of this day, whatever was ingested since.
newest as (

    select max(as_of) as as_of from source

)

select * from newest
