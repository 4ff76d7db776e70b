"""Which rows are unchanged, with the range of keys limiting what is read of the history."""

from __future__ import annotations

from collections import Counter, defaultdict
from unittest.mock import patch

import pytest
from duckbook.ingest import versions
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from landing_zone import Shop, lines, order

ids = st.one_of(st.none(), st.integers(-3, 12), st.sampled_from([99, 100, 1000, 2**62]))
rows = st.lists(st.tuples(ids, st.sampled_from(["view", "click", None])), min_size=1, max_size=8)
days = st.lists(st.integers(1, 28), min_size=4, max_size=4, unique=True)


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.land("orders.json", lines(order(1)))
    return shop


def flows(report) -> tuple[int, int]:
    (batch,) = (batch for batch in report.batches if batch.table == "interactions")
    return batch.appended, batch.unchanged


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example(
    landed=[
        [(9, "view"), (10, "view"), (None, "view")],
        [(None, "click")],
        [(9, "view"), (99, "view"), (None, "view")],
    ],
    days=[1, 2, 3],
    few_rows=0,
)
@example(landed=[[(5, "view")], [(5, "click")], [(5, "view")], [(5, "click")]], days=[1, 3, 2, 4], few_rows=0)
@example(landed=[[(5, "view")], [(5, "view")], [(5, "click")], [(5, "view")]], days=[1, 3, 2, 4], few_rows=0)
@given(landed=st.lists(rows, min_size=2, max_size=4), days=days, few_rows=st.sampled_from([versions.ROWS_IN_MEMORY, 0]))
def test_integer_keys_are_compared_like_all_others(one_shop, landed, days, few_rows):
    one_shop.clear()
    one_shop.land("orders.json", lines(order(1)))
    known: dict[object, dict[int, str | None]] = defaultdict(dict)
    for records, day in zip(landed, days, strict=False):
        one_shop.land_table("latest_interactions", "event_id bigint, event_type text", records, f"2026-06-{day:02}")
        nameless: Counter = Counter()
        unchanged = 0
        for event_id, event_type in records:
            nameless[event_type] += event_id is None
            key = event_id if event_id is not None else ("nameless", event_type, nameless[event_type])
            before = {at: what for at, what in known[key].items() if at <= day}
            unchanged += bool(before) and before[max(before)] == event_type
            known[key][day] = event_type
        with patch.object(versions, "ROWS_IN_MEMORY", few_rows):
            assert flows(one_shop.ingest()) == (len(records) - unchanged, unchanged)


def test_a_key_is_the_same_as_a_number_in_postgres_and_as_text_in_an_object(shop):
    columns = "event_id bigint, event_type text"
    shop.land_table("interactions", columns, [(n, "view") for n in (7, 8, 9, 10)], "2026-06-01")
    shop.ingest()
    events = [{"event_id": event_id, "event_type": "view"} for event_id in ("8.0", " 9 ", 10, "11")]
    shop.land("interactions/date=2026-06-02/i.ndjson", lines(*events))
    # Another text is another version of the same key.
    assert flows(shop.ingest()) == (3, 1)
    shop.land_table("latest_interactions", columns, [(n, "view") for n in (7, 8, 10, 11, 12)], "2026-06-03")
    assert flows(shop.ingest()) == (2, 3)


def test_a_key_may_hold_any_character(shop):
    odd = [order("a\0'"), order("\0"), order('é"\\')]
    shop.land("orders/date=2026-06-02/o.ndjson", lines(*odd))
    shop.ingest()
    for day in (3, 4):
        shop.land(f"orders/date=2026-06-0{day}/o.ndjson", lines(*odd))
        (batch,) = shop.ingest().batches
        assert (batch.appended, batch.unchanged) == (0, 3)


def test_unchanged_rows_are_read_if_another_version_arrives_between_them(shop):
    def land(day: int, status: str) -> None:
        shop.land(f"orders/date=2026-06-0{day}/o.ndjson", lines(order(1, status)))

    def ingest() -> tuple[dict[int, tuple[int, int]], int]:
        with patch.object(versions, "find_unchanged", wraps=versions.find_unchanged) as find:
            batches = shop.ingest().batches
        (call,) = (call for call in find.call_args_list if call.args[1].name == "orders")
        counts = {batch.batch_date.day: (batch.appended, batch.unchanged) for batch in batches}
        return counts, len(call.kwargs["unchanged_before"])

    land(2, "paid")
    shop.ingest()
    land(4, "paid")
    assert ingest() == ({4: (0, 1)}, 0)
    land(5, "paid")
    assert ingest() == ({5: (0, 1)}, 0)
    land(3, "shipped")
    land(6, "paid")
    assert ingest() == ({3: (1, 0), 6: (0, 1)}, 2)
    land(7, "paid")
    assert ingest() == ({7: (0, 1)}, 2)
