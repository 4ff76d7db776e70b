"""Casts, allocation and the choice of the newest version, over open inputs."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import duckdb
import pytest
import rendered
from books.lines import shared_out
from duckbook import source_tables
from duckbook.errors import TransformError
from duckbook.ingest import order_statuses
from duckbook.ingest.rows import normalised
from duckbook.settings import ORDER_STATUSES, Settings, status_words
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from raw_rows import Raw

CENTS = st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100)


@pytest.fixture(scope="module")
def engine():
    with duckdb.connect(config={"threads": 1}) as connection:
        # A cast must not depend on the machine's time zone.
        connection.execute("set timezone = 'America/New_York'")
        yield connection


def cast(engine, expression: str, value: str | None):
    return engine.execute(f"select {expression} from (select $1::varchar as v)", [value]).fetchone()[0]


@pytest.mark.parametrize(
    ("data_type", "written", "read"),
    [
        ("decimal(18,2)", "1e2", "100.00"),
        ("decimal(18,2)", " 12.5 ", "12.50"),
        ("decimal(18,2)", "-0.005", "-0.01"),
        ("decimal(18,2)", "12.340000000000001", "12.34"),
        ("decimal(18,2)", "1,000", None),
        ("decimal(18,2)", "$5", None),
        ("decimal(18,2)", "NaN", None),
        ("decimal(18,2)", "inf", None),
        ("decimal(18,2)", "99999999999999999", None),
        ("decimal(18,2)", "1_000", None),
        ("decimal(18,2)", "0x10", None),
        ("decimal(18,2)", "1e400", None),
        ("decimal(18,2)", "5e-3", "0.01"),
        ("decimal(18,2)", "0.0049999999999999999999999999999999999999", "0.00"),
        ("decimal(18,3)", "0.1234", "0.123"),
        ("decimal(18,6)", "0.0125", "0.012500"),
        ("decimal(14,2)", "999999999999.99", "999999999999.99"),
        ("decimal(14,2)", "1e12", None),
        ("integer", "3", "3"),
        ("integer", "3.0", "3"),
        ("integer", " -2 ", "-2"),
        ("integer", "1.2e3", "1200"),
        ("integer", "2.5", None),
        ("integer", "2.00001", None),
        ("integer", "2.0000000000000000000000001", None),
        ("integer", "1e-400", None),
        ("integer", "1_000", None),
        ("integer", "0x10", None),
        ("integer", "0b11", None),
        ("integer", "3000000000", None),
        ("integer", "three", None),
        ("boolean", "True", "True"),
        ("boolean", "1.0", "True"),
        ("boolean", " no ", "False"),
        ("boolean", "T", "True"),
        ("boolean", "y", "True"),
        ("boolean", "maybe", None),
        ("boolean", "on", None),
        ("boolean", "2", None),
        ("timestamp", "2026-06-30", "2026-06-30 00:00:00"),
        ("timestamp", "2026-06-30T12:00:00", "2026-06-30 12:00:00"),
        ("timestamp", " 2026-06-30 12:00:00.25 ", "2026-06-30 12:00:00.250000"),
        ("timestamp", "2026-06-30T12:00:00Z", "2026-06-30 12:00:00"),
        ("timestamp", "2026-06-30T12:00:00+02:00", "2026-06-30 10:00:00"),
        ("timestamp", "2026-06-30T12:00+02:00", "2026-06-30 10:00:00"),
        ("timestamp", "2026/6/30 9:05Z", "2026-06-30 09:05:00"),
        ("timestamp", "2026-06-30 12:00 UTC", "2026-06-30 12:00:00"),
        ("timestamp", "2026-06-30T12:00-0530", "2026-06-30 17:30:00"),
        ("timestamp", "2026-06-30 23:30:00-0530", "2026-07-01 05:00:00"),
        ("timestamp", "2026-06-30 12:00:00 UTC", "2026-06-30 12:00:00"),
        ("timestamp", "2026-02-30", None),
        ("timestamp", "06/30/2026", None),
        ("timestamp", "2026/6/3 1:02", "2026-06-03 01:02:00"),
        ("timestamp", "infinity", None),
        ("timestamp", "epoch", None),
        ("timestamp", "today", None),
        ("timestamp", "2026-06-30 (BC)", None),
        ("timestamp", "2026 06 30", None),
        ("timestamp", "2026-06-30 12:00:00 EST", None),
        ("timestamp", "2026-06-30 12:00:00 America/New_York", None),
        ("timestamp", "2026-06-30 12:00:00+25", None),
        ("timestamp", "0001-01-01", None),
        ("timestamp", "9999-12-31", None),
        ("varchar", "  ", None),
        ("varchar", " a b ", "a b"),
    ],
)
def test_a_value_is_read_or_null_and_never_guessed(engine, data_type, written, read):
    found = cast(engine, rendered.macro("as_type", "v", data_type), written)
    assert (None if found is None else str(found)) == read


def read_as_python_does(written: str) -> Decimal | None:
    """Read a number as docs/decisions.md defines it: digits, a point and an exponent, and nothing else."""
    if not re.fullmatch(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)(e[+-]?[0-9]+)?", written.strip(" "), re.IGNORECASE):
        return None
    return Decimal(written.strip(" "))


NUMBERS = st.one_of(
    st.from_regex(r" ?[+-]?[0-9]{0,12}[.]?[0-9]{0,25}(e[+-]?[0-9]{1,2})? ?", fullmatch=True),
    st.text("0123456789+-._eExb ,", max_size=12),
)


@settings(max_examples=500, deadline=None)
@example("2.00001")
@example("1_000")
@example("0E100000")
@example("1E1000000")
@given(NUMBERS)
def test_a_whole_number_is_read_where_python_reads_one(engine, written):
    number = read_as_python_does(written)
    found = cast(engine, rendered.macro("as_type", "v", "integer"), written)
    # An integer has at most 18 decimal places and no negative exponent.
    if re.search(r"e-|[.][0-9]{19}", written, re.IGNORECASE):
        assert found is None
    else:
        fits = number is not None and number == number.to_integral_value() and -(2**31) <= number < 2**31
        # The exponent of 0e100000 is too large for DuckDB: the value is quarantined.
        if not (fits and abs(number.as_tuple().exponent) >= 100 and found is None):
            assert found == (int(number) if fits else None)


@settings(max_examples=500, deadline=None)
@example("0.005")
@example("-1.005e0")
@example("0E100000")
@example("1E1000000")
@given(NUMBERS)
def test_money_is_read_where_python_reads_a_number_and_rounded_half_away_from_zero(engine, written):
    number = read_as_python_does(written)
    found = cast(engine, rendered.macro("as_type", "v", "decimal(18,2)"), written)
    # A number with too many digits for DuckDB is quarantined, never read wrongly.
    is_plain = number is not None and len(number.as_tuple().digits) <= 18 and abs(number.as_tuple().exponent) < 100
    if is_plain and abs(number) < Decimal(10) ** 15:
        assert found == number.quantize(Decimal("0.01"), ROUND_HALF_UP)
    elif found is not None:
        assert number is not None and found == number.quantize(Decimal("0.01"), ROUND_HALF_UP)


CENTS_OF_SUMS = st.integers(-(10**18) + 1, 10**18 - 1).map(lambda cents: Decimal(cents) / 100)


@settings(max_examples=300, deadline=None)
@example(Decimal("136.95"), Decimal(2), 2)
@example(Decimal("-136.95"), Decimal(2), 2)
@example(Decimal(1), Decimal(-8), 2)
@given(
    st.one_of(CENTS_OF_SUMS, st.integers(0, 10**6).map(Decimal)),
    st.one_of(CENTS_OF_SUMS, st.integers(0, 1000).map(Decimal)),
    st.sampled_from([2, 4, 6]),
)
def test_a_ratio_is_rounded_half_away_from_zero_with_no_double_in_between(engine, numerator, denominator, scale):
    query = rendered.macro("ratio", "$1::decimal(38, 2)", "$2::decimal(38, 2)", scale)
    exact = Fraction(numerator) / Fraction(denominator) if denominator else None
    assume(exact is None or abs(exact) < 10 ** (17 - scale))
    (found,) = engine.execute(f"select {query}", [numerator, denominator]).fetchone()
    if exact is None:
        assert found is None
    else:
        whole = int(abs(exact) * 10**scale + Fraction(1, 2))
        assert found == Decimal(whole if exact >= 0 else -whole).scaleb(-scale)


def test_a_ratio_of_whole_numbers_is_as_exact(engine):
    ratio = rendered.macro("ratio", "a", "b", 4)
    counts = f"select {ratio} from (select 1::bigint as a, 32::bigint as b)"
    assert engine.execute(counts).fetchone() == (Decimal("0.0313"),)
    sums = f"select {ratio} from (select sum(x) as a, count(*) as b from (values (1), (null), (0)) as t (x))"
    assert engine.execute(sums).fetchone() == (Decimal("0.3333"),)


@pytest.mark.parametrize(
    ("cast_macro", "written", "read"),
    [
        ("as_name", " New \t\u00a0York\n", "New York"),
        ("as_name", " \n ", None),
        ("as_enum", "Credit  Card", "credit card"),
        ("as_country", "usa", "United States"),
        ("as_country", "U.S.A.", "United States"),
        ("as_country", " united  states of America ", "United States"),
        ("as_country", "united kingdom", "United Kingdom"),
        ("as_country", "UK", "United Kingdom"),
        ("as_country", "EIRE", "Ireland"),
        ("as_country", "DE", "Germany"),
        ("as_country", "deu", "Germany"),
        ("as_country", "DEUTSCHLAND", "Germany"),
        ("as_country", "Côte d’Ivoire", "Côte d'Ivoire"),
        ("as_country", " Channel  Islands ", "Channel Islands"),
        ("as_country", " ", None),
        ("as_country", None, None),
    ],
)
def test_a_name_has_one_spelling_of_its_spaces(engine, cast_macro, written, read):
    assert cast(engine, rendered.macro(cast_macro, "v"), written) == read


def test_a_type_without_a_cast_is_refused_outside_dbt_too():
    with pytest.raises(TransformError, match=r"No cast to uuid for column v: add one to macros/casts\.sql\."):
        source_tables.cast("v", "uuid")


@settings(max_examples=300, deadline=None)
@example("2026-06-30T12:00:  ")
@example("2026-06-30 -1:00:00")
@example("2000-01-1 000:00:00")
@given(st.from_regex(r"20[0-9]{2}-[0-9 ]{2}-[0-9+ ]{2}[T 0-9][0-9+ -]{2}:[0-9+ -]{2}:[0-9Z+ .-]{2}", fullmatch=True))
def test_a_time_of_the_usual_form_is_read_as_one_that_has_to_be_trimmed(engine, written):
    query = rendered.macro("as_timestamp", "v")
    assert cast(engine, query, written) == cast(engine, query, f" {written}")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("123.0", "123"),
        (" 123 ", "123"),
        ("-5.0", "-5"),
        ("A-1.0", "A-1.0"),
        ("1.00", "1.00"),
        ("", None),
        (None, None),
    ],
)
def test_an_id_stays_text_without_what_a_data_frame_adds_to_it(engine, written, read):
    assert cast(engine, rendered.macro("as_id", "v"), written) == read
    # Keys in the history must be equal to the ids that staging joins.
    assert cast(engine, normalised("v"), written) == read


@pytest.mark.parametrize(
    ("written", "said", "read"),
    [
        ("Canceled", "", "cancelled"),
        ("VOIDED", "", "cancelled"),
        ("wc-failed", "", "cancelled"),
        (" On  Hold ", "", "pending"),
        ("on-hold", "", "pending"),
        ("partially_refunded", "", "returned"),
        ("Partially refunded", "", "returned"),
        ("wc-refunded", "", "refunded"),
        ("complete", "", "delivered"),
        ("closed", "", "closed"),
        ("Lost in Post", "", "lost in post"),
        ("Lost in-Post", "lost in post=cancelled,closed=refunded", "cancelled"),
        ("closed", "lost in post=cancelled, Closed = refunded", "refunded"),
        ("pending", "pending=cancelled", "cancelled"),
        ("bezahlt", "bezahlt=processing", "processing"),
        ("ยกเลิก", "ยกเลิก=cancelled", "cancelled"),
        ("Client's fault", "client's fault=cancelled, n/a=pending", "cancelled"),
        (" ", "", None),
        (None, "", None),
    ],
)
def test_a_word_for_a_status_is_the_status_that_shops_or_the_setting_mean_by_it(
    engine, monkeypatch, written, said, read
):
    monkeypatch.setenv("DUCKBOOK_ORDER_STATUSES", status_words(said))
    assert cast(engine, rendered.macro("as_order_status", "v"), written) == read
    # check-landing and the ingest notebook also look up the words.
    shop = Settings(order_statuses=said, _env_file=None)
    engine.execute("create or replace temp table orders as select $1::varchar as status", [written])
    odd = order_statuses.unknown_words(engine, "orders", shop)
    assert odd == ([] if read is None or read in ORDER_STATUSES else [(read, 1)])


@pytest.mark.parametrize(
    ("word", "can_be_named"),
    [
        *[("closed", True), ("lost in\u00a0post", True), ("it's #1", True), ("wc-gone", True)],
        *[("a,b", False), ("a=pending,b", False), ("x=y", False), ('the "end"', False), ("wc-", False)],
    ],
)
def test_the_setting_that_is_proposed_for_an_unknown_status_explains_it(engine, word, can_be_named):
    engine.execute("create or replace temp table orders as select $1::varchar as status", [word])
    ((odd, _),) = order_statuses.unknown_words(engine, "orders", Settings(_env_file=None))
    proposed = re.search(r"DUCKBOOK_ORDER_STATUSES=(['\"])(.*=)…\1$", order_statuses.describe(odd))
    assert bool(proposed) is can_be_named
    if proposed:
        said = Settings(order_statuses=f"{proposed[2]}cancelled", _env_file=None)
        assert order_statuses.unknown_words(engine, "orders", said) == []


def test_the_statuses_of_the_setting_are_those_of_the_lists():
    assert tuple(dict.fromkeys(order_statuses.known_words().values())) == ORDER_STATUSES


def test_the_key_of_an_id_that_is_null_is_the_unknown_member(engine):
    key, unknown = rendered.macro("surrogate_key", ["v"]), rendered.macro("unknown_key")
    assert cast(engine, f"{key} = {unknown}", None)
    assert not cast(engine, f"{key} = {unknown}", "unknown")


@settings(deadline=None)
@given(st.text())
def test_a_surrogate_key_is_a_positive_number_that_fits_a_bigint(engine, written):
    query = rendered.macro("surrogate_key", ["v"])
    assert 0 <= cast(engine, query, written) < 2**63


def test_a_surrogate_key_is_the_same_on_every_machine_and_in_every_rebuild(engine):
    assert cast(engine, rendered.macro("surrogate_key", ["v"]), "a") == 1131045358148264428


def test_parts_of_a_surrogate_key_do_not_run_into_each_other(engine):
    ab, c = rendered.macro("surrogate_key", ["'ab'", "'c'"]), rendered.macro("surrogate_key", ["'a'", "'bc'"])
    assert engine.execute(f"select {ab} <> {c}").fetchone()[0]


@settings(max_examples=150, deadline=None)
@given(amount=CENTS, weights=st.lists(st.none() | CENTS, min_size=1, max_size=7).filter(lambda w: set(w) != {None}))
def test_shares_are_those_of_the_largest_remainder_and_add_up(engine, amount, weights):
    engine.execute("create or replace temp table lines (o int, line int, amount decimal(18,2), weight decimal(18,2))")
    engine.execute("insert into lines select 1, unnest(range(len($1))), $2, unnest($1)", [weights, amount])
    query = rendered.macro("largest_remainder", "lines", "amount", "weight", "o", "line", "share")
    found = [row[0] for row in engine.execute(f"select share from ({query}) order by line").fetchall()]
    assert found == shared_out(amount, weights)
    assert sum(found) == amount


@pytest.fixture(scope="module")
def raw():
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create schema ecom_staging")
        yield Raw(connection)


def test_an_order_without_a_time_of_its_own_is_as_new_as_the_batch_that_saw_it_last(raw):
    for table in ("orders", "sightings", "batches"):
        raw.connection.execute(f"delete from ecom_raw.{table}")
    for day, status in ((1, "paid"), (3, "paid"), (2, "new")):
        raw.land("orders", [{"order_id": "1", "status": status}], date(2026, 6, day))
    for name in ("stg_batches", "base_orders"):
        raw.connection.execute(f"create or replace table ecom_staging.{name} as {rendered.model(name)}")
    staged = "select status from ecom_staging.base_orders where _state = 'staged'"
    assert raw.connection.execute(staged).fetchall() == [("processing",)]


ITEMS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(
            st.tuples(
                st.sampled_from("ab"), st.sampled_from(["1", "2", "3", None]), st.sampled_from(["1", "2", "three"])
            ),
            min_size=1,
            max_size=4,
        ),
    ),
    min_size=1,
    max_size=5,
)


def staged_items(raw: Raw, landings: list) -> dict[tuple[str, str], int]:
    """Return the staged order_items after batches of (day, rows of (order, item, quantity)) landed in this order."""
    for table in ("order_items", "sightings", "batches"):
        raw.connection.execute(f"delete from ecom_raw.{table}")
    for day, rows in landings:
        records = [dict(zip(("order_id", "order_item_id", "quantity"), row, strict=True)) for row in rows]
        raw.land("order_items", records, date(2026, 6, 1) + timedelta(day), system="postgres")
    for name in ("stg_batches", "base_order_items", "stg_order_items"):
        raw.connection.execute(f"create or replace table ecom_staging.{name} as {rendered.model(name)}")
    rows = raw.connection.execute(
        "select order_id, order_item_id, quantity from ecom_staging.stg_order_items"
    ).fetchall()
    return {(order, item): quantity for order, item, quantity in rows}


def test_where_items_are_numbered_anew_the_latest_batch_replaces_an_order_whole(raw, monkeypatch, soak):
    monkeypatch.setenv("DUCKBOOK_ORDER_ITEMS_RENUMBERED", "true")

    @settings(max_examples=250 if soak else 12, deadline=None)
    @given(landings=ITEMS)
    def run(landings):
        expected: dict[str, dict] = {}
        for _, rows in sorted(landings, key=lambda landing: landing[0]):
            sound = [row for row in rows if row[1] is not None and row[2] != "three"]
            for order in {row[0] for row in sound}:
                expected[order] = {(order, item): int(quantity) for name, item, quantity in sound if name == order}
        assert staged_items(raw, landings) == {key: n for items in expected.values() for key, n in items.items()}

    run()


def test_an_order_that_lands_with_fewer_items_keeps_the_others_unless_they_are_numbered_anew(raw, monkeypatch):
    landings = [(0, [("a", "1", "5"), ("a", "2", "6")]), (1, [("a", "1", "6")])]
    assert staged_items(raw, landings) == {("a", "1"): 6, ("a", "2"): 6}
    monkeypatch.setenv("DUCKBOOK_ORDER_ITEMS_RENUMBERED", "true")
    assert staged_items(raw, landings) == {("a", "1"): 6}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([None, "1", "2", "3"]), st.sampled_from([None, "view", "search", "stare"]))),
    st.sets(st.sampled_from(["1", "2"])),
)
def test_each_key_that_leads_nowhere_and_each_value_out_of_its_list_is_told_once(engine, events, known):
    engine.execute("create or replace table events (customer_id varchar, event_type varchar)")
    engine.execute("create or replace table customers as select unnest(?::varchar[]) as customer_id", [sorted(known)])
    if events:
        engine.executemany("insert into events values (?, ?)", events)
    query = rendered.generic_test(
        "keys_and_values_are_known",
        "events",
        references=[{"column": "customer_id", "to": "customers", "field": "customer_id"}],
        accepted={"event_type": ["view", "search"]},
    )
    lost = Counter(("customer_id", customer) for customer, _ in events if customer and customer not in known)
    odd = Counter(("event_type", event) for _, event in events if event == "stare")
    found = engine.execute(query).fetchall()
    assert sorted(found) == sorted((column, value, count) for (column, value), count in (lost + odd).items())
