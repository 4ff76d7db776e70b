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
        -- The place of the batch in the history of its table: by date, even if it arrives late. A batch without a date
        -- comes after those dated on the day of its arrival.
        row_number() over (
            partition by table_name
            order by
                batch_date asc,
                declared desc,
                case when declared then source end asc,
                sequence asc,
                batch_id asc
        ) as place,
        landed,
        appended,
        unchanged,
        unreadable,
        coalesce(conflicting, 0) as conflicting,
        coalesce(gone, 0) as gone,

        ---------- dates
        batch_date,
        as_of

    from source

),

-- A batch is overtaken if a batch that arrived later and appended rows precedes it in time.
overtaken as (

    select
        *,
        coalesce(
            place > min(case when appended > 0 then place end) over (
                partition by table_name
                order by sequence asc
                rows between 1 following and unbounded following
            ),
            false
        ) as is_overtaken
    from placed

)

select * from overtaken
