{#
    Shares of an amount over the rows of a partition, in proportion to a weight, that add up to it to the cent. Each
    row gets the whole cents of its share, and the remaining cents go, one each, to the rows with the largest
    remainders (Hamilton's method). If all weights are 0, the shares are equal. Computed in whole cents, never in
    floating point.

    amount        decimal(18, 2) column, the same on each row of the partition
    weight        decimal(18, 2) column; null for a row without a share; at least one per partition is not null
    partition_by  what the amount belongs to
    order_by      breaks ties, so that the shares do not depend on the order of the rows
#}
{% macro largest_remainder(relation, amount, weight, partition_by, order_by, share) -%}
    with

    cents as (

        select
            *,
            cast(abs({{ amount }}) * 100 as hugeint) as _cents,
            case
                when {{ weight }} is null then cast(0 as hugeint)
                when sum(abs({{ weight }})) over (partition by {{ partition_by }}) = 0 then cast(1 as hugeint)
                else cast(abs({{ weight }}) * 100 as hugeint)
            end as _weight
        from {{ relation }}

    ),

    weighed as (

        select
            *,
            cast(sum(_weight) over (partition by {{ partition_by }}) as hugeint) as _weights
        from cents

    ),

    floored as (

        select
            *,
            (_cents * _weight) // _weights as _floor,
            (_cents * _weight) % _weights as _remainder
        from weighed

    ),

    placed as (

        select
            *,
            _cents - sum(_floor) over (partition by {{ partition_by }}) as _left_over,
            row_number() over (partition by {{ partition_by }} order by _remainder desc, {{ order_by }}) as _place
        from floored

    )

    select
        * exclude (_cents, _weight, _weights, _floor, _remainder, _left_over, _place),
        cast(
            case when {{ amount }} < 0 then -1 else 1 end
            * (_floor + case when _place <= _left_over then 1 else 0 end) * 0.01
            as decimal(18, 2)
        ) as {{ share }}
    from placed
{%- endmacro %}


{#
    A quotient of sums, never an average of averages. Null if the denominator is null or 0, or if the quotient is too
    large for its type. Rounded half away from zero, exactly: both sides become integers, in hundredths, because DuckDB
    divides decimals as doubles, where 136.95 / 2 is slightly less than 68.475.

    numerator, denominator  integers, or decimals of at most two places
#}
{% macro ratio(numerator, denominator, scale=2) -%}
    {%- set dividend = 'cast(cast(' ~ numerator ~ ' as decimal(38, 2)) * 100 as hugeint)' -%}
    {%- set divisor = 'cast(cast(' ~ denominator ~ ' as decimal(38, 2)) * 100 as hugeint)' -%}
    try_cast(
        case when ({{ dividend }} < 0) = ({{ divisor }} < 0) then 1 else -1 end
        * ((abs({{ dividend }}) * {{ 2 * 10 ** scale }} + abs({{ divisor }})) // nullif(2 * abs({{ divisor }}), 0))
        * {{ '0.' ~ '0' * (scale - 1) ~ '1' }} as decimal(18, {{ scale }})
    )
{%- endmacro %}
