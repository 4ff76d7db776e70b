-- What landed in a batch was appended, unchanged or unreadable.
select *
from {{ ref('stg_batches') }}
where landed <> appended + unchanged + unreadable
