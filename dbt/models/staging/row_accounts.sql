{{ config(
    materialized='incremental', incremental_strategy='delete+insert', unique_key='table_name',
    post_hook='{{ keep_built_of() }}'
) }}

{%- set table_names = [
    'customers', 'products', 'orders', 'reviews', 'categories', 'subcategories', 'order_items', 'interactions'
] %}
{%- set renumbered = env_var('DUCKBOOK_ORDER_ITEMS_RENUMBERED', 'false') | lower in ['true', '1', 'yes', 'on'] %}

with

quarantined as (

    select
        table_name,
        batch_id,
        row_number
    from {{ ref('quarantine') }}

),
{% for table_name in table_names %}
{%- if renumbered and table_name == 'order_items' %}
-- If the source renumbers the items of an order, as many rows are staged as the latest batch with a valid item of the
-- order has keys, new or unchanged. All others are superseded.
sound_items as (

    select
        {{ as_id('rows_landed.order_id') }} as order_id,
        rows_landed._key,
        rows_landed._row_hash,
        rows_landed._batch_id
    from {{ source('ecom_raw', 'order_items') }} as rows_landed
    left join quarantined
        on
            quarantined.table_name = 'order_items'
            and rows_landed._batch_id = quarantined.batch_id
            and rows_landed._row_number = quarantined.row_number
    where quarantined.batch_id is null

),

items_seen as (

    select
        order_id,
        _key,
        _batch_id
    from sound_items

    union all

    select
        sound_items.order_id,
        sightings._key,
        sightings._batch_id
    from {{ source('ecom_raw', 'sightings') }} as sightings
    inner join sound_items on sightings._key = sound_items._key and sightings._row_hash = sound_items._row_hash
    where sightings.table_name = 'order_items'

),

items_placed as (

    select
        items_seen._key,
        batches.place = max(batches.place) over (partition by items_seen.order_id) as is_kept
    from items_seen
    inner join {{ ref('stg_batches') }} as batches
        on items_seen._batch_id = batches.batch_id and batches.table_name = 'order_items'

),

accounts_of_order_items as (

    select
        'order_items' as table_name,
        count(*) as raw,
        count(*) - (select count(*) from sound_items) as quarantined,
        (select count(*) from sound_items)
        - (
            select count(distinct items_placed._key) from items_placed
            where items_placed.is_kept
        ) as superseded
    from {{ source('ecom_raw', 'order_items') }}

),
{% elif is_incremental() %}
-- The previous account plus the new rows: each new version of a key makes one more superseded, except the first version
-- that can be cast.
new_{{ table_name }} as (

    select
        rows_landed._key,
        quarantined.batch_id is null as is_sound
    from {{ source('ecom_raw', table_name) }} as rows_landed
    left join quarantined
        on
            quarantined.table_name = '{{ table_name }}'
            and rows_landed._batch_id = quarantined.batch_id
            and rows_landed._row_number = quarantined.row_number
    where rows_landed._batch_id in ({{ new_batches(table_name) }})

),

known_{{ table_name }} as (

    select count(distinct rows_landed._key) as keys
    from {{ source('ecom_raw', table_name) }} as rows_landed
    left join quarantined
        on
            quarantined.table_name = '{{ table_name }}'
            and rows_landed._batch_id = quarantined.batch_id
            and rows_landed._row_number = quarantined.row_number
    where
        rows_landed._key in (
            select new_rows._key from new_{{ table_name }} as new_rows
            where new_rows.is_sound
        )
        and rows_landed._batch_id not in ({{ new_batches(table_name) }})
        and quarantined.batch_id is null

),

added_to_{{ table_name }} as (

    select
        count(*) filter (where not is_sound) as quarantined,
        count(*) filter (where is_sound) - count(distinct _key) filter (where is_sound) as superseded
    from new_{{ table_name }}

),

accounts_of_{{ table_name }} as (

    select
        account.table_name,
        (select count(*) from {{ source('ecom_raw', table_name) }}) as raw,
        account.quarantined + added.quarantined as quarantined,
        account.superseded + added.superseded + known.keys as superseded
    from {{ this }} as account
    cross join added_to_{{ table_name }} as added
    cross join known_{{ table_name }} as known
    where account.table_name = '{{ table_name }}'

),
{% else %}
-- From raw and the quarantine alone: of the castable versions of a key, all except one are superseded.
accounts_of_{{ table_name }} as (

    select
        '{{ table_name }}' as table_name,
        count(*) as raw,
        count(*) filter (where quarantined.batch_id is not null) as quarantined,
        count(*) filter (where quarantined.batch_id is null)
        - count(distinct rows_landed._key) filter (where quarantined.batch_id is null) as superseded
    from {{ source('ecom_raw', table_name) }} as rows_landed
    left join quarantined
        on
            quarantined.table_name = '{{ table_name }}'
            and rows_landed._batch_id = quarantined.batch_id
            and rows_landed._row_number = quarantined.row_number

),
{% endif %}
staged_{{ table_name }} as (

    select count(*) as staged
    from {{ ref('stg_' ~ table_name) }}

),
{% endfor %}
unioned as (
    {% for table_name in table_names %}
    select
        accounts.table_name,
        accounts.raw,
        staged.staged,
        accounts.superseded,
        accounts.quarantined
    from accounts_of_{{ table_name }} as accounts
    cross join staged_{{ table_name }} as staged
    {% if not loop.last %}
    union all
    {% endif %}
    {%- endfor %}
)

select * from unioned
