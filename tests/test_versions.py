"""Which rows are unchanged, where the history is asked only about the range of the keys that came."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import pytest
from duckbook import versions
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from landing_zone import Shop, lines, order

ids = st.one_of(st.none(), st.integers(-3, 12), st.sampled_from([99, 100, 1000, 2**62]))
batches = st.lists(
    st.lists(st.tuples(ids, st.sampled_from(["view", "click", None])), min_size=1, max_size=8), min_size=2, max_size=4
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, endpoints) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"), endpoints, "asked")


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@example(
    landed=[
        [(9, "view"), (10, "view"), (None, "view")],
        [(None, "click")],
        [(9, "view"), (99, "view"), (None, "view")],
    ],
    few_rows=0,
)
@example(landed=[[(5, "view")], [(5, "click"), (None, None)], [(None, None), (None, None)], [(5, "click")]], few_rows=0)
@given(landed=batches, few_rows=st.sampled_from([versions.FEW_ROWS, 0]))
def test_whole_numbers_as_keys_are_told_apart_as_all_others_are(shop, landed, few_rows):
    shop.clear()
    shop.land("orders.json", lines(order(1)))
    newest: dict[object, str | None] = {}
    for day, rows in enumerate(landed, 1):
        shop.land_table("latest_interactions", "event_id bigint, event_type text", rows, f"2026-06-{day:02}")
        nameless: Counter = Counter()
        unchanged = 0
        for event_id, event_type in rows:
            nameless[event_type] += event_id is None
            key = event_id if event_id is not None else ("nameless", event_type, nameless[event_type])
            unchanged += key in newest and newest[key] == event_type
            newest[key] = event_type
        with patch.object(versions, "FEW_ROWS", few_rows):
            report = shop.ingest()
        (batch,) = (batch for batch in report.batches if batch.table == "interactions")
        assert (batch.appended, batch.unchanged) == (len(rows) - unchanged, unchanged)
