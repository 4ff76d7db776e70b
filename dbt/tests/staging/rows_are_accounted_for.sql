-- Nothing is lost, nothing is counted twice: what landed is staged, superseded or quarantined.
select *
from {{ ref('row_accounts') }}
where raw <> staged + superseded + quarantined
