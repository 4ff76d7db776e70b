-- All rows of a batch were appended, unchanged or unreadable.
select *
from {{ ref('stg_batches') }}
where landed <> appended + unchanged + unreadable
