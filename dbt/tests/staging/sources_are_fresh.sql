{{ config(severity='warn') }}

-- Reported, by the as-of date rather than the clock: source tables whose newest batch is older than their threshold in
-- models/staging/_sources.yml. Optional tables that never landed are not reported.
with

thresholds as (
    {% for node in graph.sources.values() if node.meta.get('fresh_within_days') %}
    select
        '{{ node.name }}' as table_name,
        {{ node.meta.fresh_within_days }} as fresh_within_days,
        {{ node.meta.get('required', false) }} as is_required
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

newest as (

    select
        table_name,
        max(batch_date) as batch_date
    from {{ ref('stg_batches') }}
    group by table_name

)

select
    thresholds.table_name,
    newest.batch_date,
    thresholds.fresh_within_days,
    date_diff('day', newest.batch_date, {{ as_of() }}) as days_old
from thresholds
left join newest on thresholds.table_name = newest.table_name
where
    date_diff('day', newest.batch_date, {{ as_of() }}) > thresholds.fresh_within_days
    or (newest.batch_date is null and thresholds.is_required)
