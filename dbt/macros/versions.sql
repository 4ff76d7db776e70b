{#
    Why a raw row cannot be staged: it has no key, or a value cannot be cast. Null for a row that can be staged. The
    reason names each failing column with its value, so that it can be fixed.

    key      the columns of the business key
    casts    column → data type, of every column that is not text; tests compare them with the sources file
    product  two of these columns and a third: if the third is missing, their product is used and must fit its type
#}
{% macro rejection(key, casts, product=none) -%}
    {%- set faults = [] -%}
    {%- for column, data_type in casts.items() -%}
        {%- do faults.append({
            'column': column,
            'type': data_type,
            'value': column,
            'test': as_text(column) ~ ' is not null and ' ~ as_type(column, data_type) ~ ' is null'
        }) -%}
    {%- endfor -%}
    {%- if product -%}
        {%- set one, other, whole = product -%}
        {%- set amount = times(as_type(one, casts[one]), as_type(other, casts[other])) -%}
        {%- do faults.append({
            'column': one ~ ' x ' ~ other,
            'type': casts[whole],
            'value': "concat_ws(' x ', " ~ one ~ ', ' ~ other ~ ')',
            'test': as_text(whole) ~ ' is null and ' ~ amount ~ ' is not null and try_cast(' ~ amount ~ ' as ' ~ casts[whole] ~ ') is null'
        }) -%}
    {%- endif -%}
    case
        when _key is null
            then '{{ key | join(', ') }}: the record has no key'
        when {% for fault in faults %}({{ fault.test }}){{ ' or ' if not loop.last }}{% endfor %}
            then concat_ws(
                '; '
                {%- for fault in faults %}
                , case when {{ fault.test }} then '{{ fault.column }}: ''' || left({{ fault.value }}, 80) || ''' is not {{ 'an' if fault.type == 'integer' else 'a' }} {{ fault.type }}' end
                {%- endfor %}
            )
    end
{%- endmacro %}


{#
    Add `_state` to typed rows: quarantined, superseded or staged. Of the castable rows of a key the newest is staged:
    by the source's own time of the version if it has one, else by the place in time of the batch in which the same
    content last landed, unchanged rows included, so that A, B, A ends at A. Most keys have one version; only the
    others are ranked. An unchanged row repeats what preceded it when it landed, so it adds nothing to the rows, unless
    a batch that arrived later precedes it in time.

    typed        name of the CTE with _key, _row_hash, _batch_id, _row_number and _rejection
    table_name   the source table
    updated_at   its column with the time of the version, if it has one
    has_history  whether `history_of` computes the validity of its versions: then a version without a time of its own counts
                 from the start of the day on which it last landed, as there, otherwise from the end of it
    whole        its column that names what is replaced as a whole, if a source renumbers the parts each time: of the rows
                 that share it, only those in the latest batch with a valid one are staged
    is_rival     the column with which `rows_of` has marked rivals; without it they are found among the typed rows
#}
{% macro with_state(typed, table_name, updated_at=none, has_history=false, whole=none, is_rival=none) -%}
    with

    {% if not is_rival -%}
    contested as (

        select _key
        from {{ typed }}
        where _rejection is null
        group by _key
        {% if not whole -%}
        having count(*) > 1
        {%- endif %}

    ),

    {% endif -%}
    rivals as (

        select
            {{ typed }}._key,
            {{ typed }}._row_hash,
            {{ typed }}._batch_id,
            {{ typed }}._row_number,
            {% if whole -%}
            {{ typed }}.{{ whole }} as whole,
            {% endif -%}
            batches.place,
            {{ typed ~ '.' ~ updated_at if updated_at else 'cast(null as timestamp)' }} as updated_at
        from {{ typed }}
        {% if not is_rival -%}
        inner join contested on {{ typed }}._key = contested._key
        {% endif -%}
        left join {{ ref('stg_batches') }} as batches
            on {{ typed }}._batch_id = batches.batch_id and batches.table_name = '{{ table_name }}'
        where {{ typed }}._rejection is null{{ ' and ' ~ typed ~ '.' ~ is_rival if is_rival }}

    ),

    {% if updated_at -%}
    {{ mixed_keys('rivals') }},

    {% endif -%}
    appearances as (

        select _key, _row_hash, place, _row_number from rivals

        union all

        select sightings._key, sightings._row_hash, batches.place, sightings._row_number
        from {{ source('ecom_raw', 'sightings') }} as sightings
        inner join {{ ref('stg_batches') }} as batches
            on sightings._batch_id = batches.batch_id and batches.table_name = '{{ table_name }}'
        where
            sightings.table_name = '{{ table_name }}'
            and sightings._key in (select rivals._key from rivals)
            {%- if updated_at %}
            and (batches.is_overtaken or sightings._key in (select mixed._key from mixed))
            {%- elif not whole %}
            -- In all other batches they repeat the version before them, and millions land per day.
            and batches.is_overtaken
            {%- endif %}

    ),

    last_appearances as (

        select
            _key,
            _row_hash,
            max(struct_pack(place := place, row_number := _row_number)) as last_seen
        from appearances
        group by _key, _row_hash

    ),

    ranked as (

        select
            rivals._batch_id,
            rivals._row_number,
            row_number() over (
                partition by rivals._key
                order by
                    {% if has_history -%}
                    coalesce(rivals.updated_at, cast(batches.batch_date as timestamp)) desc,
                    {% elif updated_at -%}
                    -- A version without a time of its own counts from the end of the day on which it last landed.
                    coalesce(rivals.updated_at, batches.batch_date + interval 1 day) desc,
                    {% endif -%}
                    last_appearances.last_seen desc,
                    rivals.place desc,
                    rivals._row_number desc
            ) as recency
            {%- if whole %},
            last_appearances.last_seen.place < max(last_appearances.last_seen.place) over (
                partition by rivals.whole
            ) as is_left_out
            {%- endif %}
        from rivals
        inner join last_appearances
            on rivals._key = last_appearances._key and rivals._row_hash = last_appearances._row_hash
        {%- if updated_at %}
        left join {{ ref('stg_batches') }} as batches
            on last_appearances.last_seen.place = batches.place and batches.table_name = '{{ table_name }}'
        {%- endif %}

    )

    select
        {{ typed }}.*{{ ' exclude (' ~ is_rival ~ ')' if is_rival }},
        case
            when {{ typed }}._rejection is not null then 'quarantined'
            -- A subquery, not a join: if the planner overestimates these few rows, it builds the hash table of all others.
            when ({{ typed }}._batch_id, {{ typed }}._row_number) in (
                select
                    ranked._batch_id,
                    ranked._row_number
                from ranked
                where ranked.recency > 1{{ ' or ranked.is_left_out' if whole }}
            ) then 'superseded'
            else 'staged'
        end as _state
    from {{ typed }}
{%- endmacro %}


{#
    A CTE `mixed`: the keys with some versions that have a time of their own and some that do not. Only for these does
    it matter that a version without one landed again: another version may lie between in time, though not by place.
#}
{% macro mixed_keys(versions) -%}
    mixed as (

        select _key
        from {{ versions }}
        group by _key
        having count(updated_at) > 0 and count(updated_at) < count(*)

    )
{%- endmacro %}
