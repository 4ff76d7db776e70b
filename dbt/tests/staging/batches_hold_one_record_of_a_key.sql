{{ config(severity='warn') }}

-- Reported, never silent: batches that hold several records of one key which differ and hold from the same time. The
-- last of them is staged, the others are superseded, and nothing but their order says so.
select
    table_name,
    batch_id,
    source,
    conflicting
from {{ ref('stg_batches') }}
where conflicting > 0
