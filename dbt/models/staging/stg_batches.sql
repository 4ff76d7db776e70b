{{ config(materialized='table') }}

with

source as (

    select * from {{ source('ecom_raw', 'batches') }}

),

placed as (

    select
        ---------- ids
        batch_id,
        table_name,

        ---------- text
        system,
        source,

        ---------- numerics
        sequence,
        -- Where the batch stands in the history of its table. A batch that arrives late still has its place by its date.
        row_number() over (partition by table_name order by batch_date, source, sequence, batch_id) as place,
        landed,
        appended,
        unchanged,
        unreadable,

        ---------- dates
        batch_date,
        as_of

    from source

)

select * from placed
