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
        -- Where the batch stands in the history of its table. A batch that arrives late still has its place by its
        -- date; one without a date has it by its arrival, after those that declare the day on which it came.
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

-- A batch is overtaken by one that arrived later, brought rows and stands before it.
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
