-- Raw is the sum of what its batches appended: no row was loaded twice or missed.
with

appended as (

    select
        table_name,
        sum(appended) as appended
    from {{ ref('stg_batches') }}
    group by table_name

),

accounts as (

    select * from {{ ref('row_accounts') }}

)

select
    accounts.table_name,
    accounts.raw,
    coalesce(appended.appended, 0) as appended
from accounts
left join appended on accounts.table_name = appended.table_name
where accounts.raw <> coalesce(appended.appended, 0)
