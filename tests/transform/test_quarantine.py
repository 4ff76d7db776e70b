"""The limit of quarantined rows: which rows count, and that a run above it publishes nothing."""

import pytest
import rendered
from duckbook.backends import warehouse
from duckbook.errors import QuarantineError
from duckbook.transform import quarantine
from landing_zone import Shop, lines, order

BAD = "12 EUR"


def violations(shop: Shop, limit: float = 0.05) -> tuple[list[dict], list[str]]:
    """Ingest; return the quarantined rows per source, and the sentences with which a run fails."""
    shop.ingest()
    settings = shop.settings.model_copy(update={"quarantine_limit": limit})
    with warehouse.open_warehouse(settings) as connection:
        rendered.stage(connection)
        found = quarantine.counts(connection)
        sentences = quarantine.violations(found, settings)
        if sentences:
            with pytest.raises(QuarantineError) as error:
                quarantine.enforce_limit(connection, settings)
            assert str(error.value).startswith(sentences[0])
        else:
            quarantine.enforce_limit(connection, settings)
    return found, sentences


def orders(bad: int, sound: int) -> list[dict]:
    return [order(n, total_amount=BAD if n < bad else "1.50") for n in range(bad + sound)]


def counts(found: list[dict]) -> list[tuple]:
    return [(row["table"], row["source"], row["rows"], row["quarantined"]) for row in found]


def test_more_rows_than_the_limit_fail_the_run_until_they_are_mended_at_the_source(shop):
    source = shop.land("orders/date=2026-06-01/o.ndjson", lines(*orders(60, 1_140), "{oops"))
    found, sentences = violations(shop)
    assert counts(found) == [("orders", None, 1_201, 61), ("orders", source, 1_201, 61)]
    assert len(sentences) == 1
    assert sentences[0].startswith(f"orders: 61 of the 1,201 rows of {source} are quarantined, more than the 60 that ")
    assert "DUCKBOOK_QUARANTINE_LIMIT=0.05" in sentences[0]
    assert "total_amount: '12 EUR' is not a decimal(14,2)" in sentences[0] or "is not JSON" in sentences[0]
    assert violations(shop)[1] == sentences, "ingesting nothing new fixes nothing"
    shop.land("orders/date=2026-06-01/o.ndjson", lines(*orders(0, 1_200)))
    assert violations(shop) == ([], [])
    assert shop.query("select count(*) as n from ecom_staging.quarantine")[0]["n"] == 61, "quarantined rows are kept"


def test_a_later_sound_record_of_the_key_mends_a_row_wherever_it_lands(shop):
    shop.land("orders/date=2026-06-02/o.ndjson", lines(*orders(3, 5)))
    shop.land("orders/date=2026-06-01/early.ndjson", lines(order(0, total_amount="2")))
    shop.land("orders/date=2026-06-03/late.ndjson", lines(order(1, total_amount="2")))
    found, sentences = violations(shop, limit=0)
    assert counts(found)[0] == ("orders", None, 10, 2), "an earlier record fixes nothing"
    assert len(sentences) == 1
    shop.land("orders/date=2026-06-04/late.ndjson", lines(order(0, total_amount="2"), order(2, total_amount="2")))
    assert violations(shop, limit=0) == ([], [])


def test_a_row_that_is_seen_again_unchanged_still_counts_and_once(shop):
    shop.land("orders/o.ndjson", lines(*orders(2, 3), order(None)))
    shop.ingest()
    source = shop.land("orders/o.ndjson", lines(*orders(2, 4), order(None)))
    found, _ = violations(shop)
    assert counts(found)[1] == ("orders", source, 7, 3)


@pytest.mark.parametrize(("rows", "pass_"), [(2, 0), (3, 1), (8, 2), (9, 3), (60, 3), (80, 4), (121, 6), (1_000, 50)])
def test_of_a_small_table_a_few_rows_may_be_quarantined_and_never_most(shop, rows, pass_):
    assert quarantine.allowed(rows, shop.settings) == pass_
    assert quarantine.allowed(rows, shop.settings.model_copy(update={"quarantine_limit": 0})) == 0
    assert quarantine.allowed(rows, shop.settings.model_copy(update={"quarantine_limit": 1})) == rows


def test_a_table_that_is_broken_whole_fails_the_run_however_small_it_is(shop):
    shop.land("orders/o.ndjson", lines(*orders(10, 0)))
    (sentence,) = violations(shop)[1]
    assert "10 of the 10 rows of" in sentence and "more than the 3 that" in sentence
    assert violations(shop, limit=1)[1] == []


def test_many_sources_that_hold_a_few_each_are_told_as_the_table(shop):
    for day in range(1, 5):
        rows = [order(f"{day}-{n}", total_amount=BAD if n < 3 else "1") for n in range(20)]
        shop.land(f"orders/date=2026-06-0{day}/o.ndjson", lines(*rows))
    (sentence,) = violations(shop)[1]
    assert sentence.startswith("orders: 12 of the 80 rows in its sources are quarantined, more than the 4 ")
