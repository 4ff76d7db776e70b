{{ config(severity='warn') }}

-- Reported: batches with several different records of one key that are valid from the same time. The last of them is
-- staged and the others are superseded, only by their order.
select
    table_name,
    batch_id,
    source,
    conflicting
from {{ ref('stg_batches') }}
where conflicting > 0
