"""Erase a person whom a shop spells in many ways, and then search every byte on disk.

The first erasure leaves only the records that it listed as doubtful; erasing those as well leaves nothing.
"""

from __future__ import annotations

import gzip
import json
import re

import pytest
from duckbook.backends import servers, storage, warehouse
from duckbook.errors import IngestError
from duckbook.ingest import commit_log, raw
from duckbook.ops import person_erasure, remaining_copies
from landing_zone import Shop, lines, order

PERSON, E_MAIL, PHONE = "kc-zofia-0077", "zofia.wiśniewska@bramble.example", "+48 609 481 537"
FIRST, LAST, STREET = "Zofia", "Wiśniewska", "77 Bramblewood Crescent, Łódź, PL 90001"

SOUGHT = re.compile(
    rb"kc-zofia-0077|zofia[^a-z]{0,3}w|wi(s|\xc5\x9b|\\u015b|&#347;|%c5%9b|s\xcc\x81)niewska|bramblewood|"
    rb"bramble(\.|%2e)example|609.?481.?537",
    re.IGNORECASE,
)
"""Her id, e-mail, name, address and phone, as bytes, in several spellings."""

HERS = {"customer_id": PERSON, "email": E_MAIL, "first_name": FIRST, "last_name": LAST, "phone": PHONE}
HIS = {"customer_id": "8", "email": "bob@example.org", "first_name": "Bob", "last_name": "Moss", "city": "Austin"}
NAMELESS = {"email": E_MAIL.upper(), "city": "Łódź", "first_name": FIRST}

UNREADABLE = [
    '{"order_id": "u1", "customer_id": "kc-zofia-0077", "shipping_address": "77 Bramble',
    "{'order_id': 'u2', 'customer_id': 'kc-zofia-0077'}",
    '{"order_id": "u3", "contact": "ZOFIA.WIŚNIEWSKA@BRAMBLE.EXAMPLE',
    r'{"order_id": "u4", "contact": "zofia.wi\u015bniewska\u0040bramble.example',
    "u5;2026-05-01;zofia.wiśniewska%40bramble.example;12.00",
    r"{\"order_id\": \"u6\", \"customer_id\": \"kc-zofia-0077\"}",
    "u7,2026-05-01,77 BRAMBLEWOOD CRESCENT  Lodz PL 90001",
    "u8|kc-zofia-0077|12.00",
]
DOUBTFUL_LINES = [
    r'{"order_id": "d1", "first_name": "Zofia", "last_name": "Wi\u015bniewska',
    "d2;WISNIEWSKA, ZOFIA;12.00",
]
ORDERS = [
    order("o-1", customer_id=PERSON, shipping_address=STREET, total_amount="10.00"),
    order("o-2", customer_id="8", shipping_address="1 Elm St", total_amount="20.00"),
    order("o-3", customer_id=None, shipping_address=f"{STREET} ({E_MAIL})", total_amount="30.00"),
    order("o-4", customer_id="", billing_address=STREET.lower(), total_amount="40.00"),
]
GIFT = order("o-5", customer_id="8", shipping_address="Zofia Wisniewska, 2 Oak St", total_amount="50.00")
REVIEWS = [
    {"review_id": "r-1", "customer_id": PERSON, "review_score": 5, "review_text": "It is I, Zofia W."},
    {"review_id": "r-2", "customer_id": "8", "review_score": 4, "review_text": f"Ask {E_MAIL.title()} about it"},
]
EVENTS = [
    ("e-1", PERSON, f"view by {FIRST} {LAST}", "s1"),
    ("e-2", "8", "view", "s2"),
    ("e-3", None, "view", f"of {E_MAIL}"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory, endpoints) -> Shop:
    """A shop whose sources have erased her already, and whose history, warehouse and archive have not."""
    shop = Shop(tmp_path_factory.mktemp("erasing"), endpoints, "erasing")
    shop.clear()
    for day in ("2026-05-31", "2026-06-30"):
        shop.land(f"customers/date={day}/c.ndjson", lines(HERS, HIS | {"age": day}, NAMELESS))
        shop.land(f"orders/date={day}/o.ndjson", lines(*ORDERS, GIFT, *UNREADABLE, *DOUBTFUL_LINES))
    shop.land("reviews/date=2026-05-31/r.ndjson", lines(*REVIEWS))
    shop.land_table("interactions", "event_id text, customer_id text, event_type text, session_id text", EVENTS)
    shop.ingest()
    page = shop.settings.runs / "20260630T000000-00" / "03_ingest.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<td>{PERSON}</td><td>zofia.wi&#347;niewska@bramble.example</td><td>{FIRST}</td>\n<td>{LAST}</td>")
    for day in ("2026-05-31", "2026-06-30"):
        shop.land(f"customers/date={day}/c.ndjson", lines(HIS | {"age": day}))
        shop.land(f"orders/date={day}/o.ndjson", lines(ORDERS[1]))
    shop.land("reviews/date=2026-05-31/r.ndjson", lines(REVIEWS[1] | {"review_text": "good"}))
    with shop.postgres() as connection:
        table = f"{shop.settings.postgres_schema}.interactions"
        connection.execute(f"delete from {table} where customer_id = '{PERSON}' or session_id like 'of %'")
    return shop


def left(shop: Shop, servers_folder) -> list[str]:
    """Return the names of files, objects and tables that mention her, compressed contents included."""
    texts = {}
    for folder in (shop.settings.data, servers_folder):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                texts[path.name] = texts.get(path.name, b"") + path.read_bytes()
    for bucket in (shop.settings.s3_historic_bucket, shop.settings.s3_latest_bucket):
        with warehouse.engine(shop.settings) as engine:
            warehouse.use_s3(engine, shop.endpoints.s3)
            for found in storage.list_objects(shop.client, bucket):
                if found.key.endswith(".parquet"):
                    rows = engine.execute(f"from 's3://{bucket}/{found.key}'").fetchall()
                    texts[found.key] = "\n".join(map(str, (value for row in rows for value in row))).encode()
                else:
                    body = storage.get_bytes(shop.client, bucket, found.key)
                    texts[found.key] = gzip.decompress(body) if found.key.endswith(".gz") else body
    with warehouse.open_warehouse(shop.settings, read_only=True) as connection:
        for schema, name in connection.execute("select schema_name, table_name from duckdb_tables()").fetchall():
            rows = connection.execute(f"from {schema}.{name}").fetchall()
            texts[f"{schema}.{name}"] = "\n".join(map(str, (value for row in rows for value in row))).encode()
    return sorted(name for name, text in texts.items() if SOUGHT.search(text))


def erase(shop: Shop, *ids: str, records: tuple[str, ...] = ()) -> person_erasure.Erasure:
    """Erase as the command does, without the build and without `servers.vacuum`."""
    listed = []
    erasure = person_erasure.erase(shop.settings, shop.endpoints, ids, records, listed.extend)
    assert tuple(listed) == erasure.doubts
    remaining_copies.discard_warehouse(shop.settings)
    raw.load(shop.settings, shop.endpoints)
    shop.check_row_counts()
    return erasure


def test_every_trace_on_disk_was_listed_and_then_none_is_left(shop, shop_settings, endpoints):
    folder = shop_settings.data / "servers"
    before = left(shop, folder)
    assert {"ecom_raw.customers", "ecom_raw.orders", "ecom_raw.unreadable", "03_ingest.html"} <= set(before)
    amounts = shop.query("select order_id, total_amount from ecom_raw.orders order by all")
    erasure = erase(shop, PERSON)
    assert erasure.rows == {"customers": 4, "orders": 2 * len(UNREADABLE) + 6, "reviews": 1, "interactions": 2}
    found = {(doubt.why, doubt.customer, doubt.text) for doubt in erasure.doubts}
    assert found == {
        *(("the name", None, text) for text in DOUBTFUL_LINES),
        ("the name", "8", GIFT["shipping_address"]),
        ("the e-mail", "8", REVIEWS[1]["review_text"]),
    }
    assert len(erasure.doubts) == 6
    listed = {doubt.record.split(":")[0] for doubt in erasure.doubts}
    batches = commit_log.read(shop.client, shop.settings.s3_historic_bucket).batches
    keys = {key for batch in batches if batch.batch_id in listed for key in batch.files.values()}
    # Deleted data stays on the disk until `servers.vacuum`.
    still = {name for name in left(shop, folder) if name.startswith(("history/", "ecom_raw.")) or ".html" in name}
    assert still <= keys | {"ecom_raw.orders", "ecom_raw.reviews", "ecom_raw.unreadable"}
    assert shop.query("select order_id, total_amount from ecom_raw.orders order by all") == amounts
    erase(shop, records=tuple(doubt.record for doubt in erasure.doubts))
    assert servers.vacuum(shop_settings) == []
    assert left(shop, folder) == []
    assert shop.query("select order_id, total_amount from ecom_raw.orders order by all") == amounts
    (gift,) = (row for row in shop.raw() if row["order_id"] == "o-5")
    assert gift["customer_id"] == "8" and "shipping_address" not in gift


def test_a_line_with_only_her_e_mail_does_not_bring_her_back(shop, shop_settings):
    """After the test above."""
    later = {"customer_id": None, "email": E_MAIL, "city": "Gdynia"}
    shop.land("customers/date=2026-07-01/c.ndjson", lines(HIS | {"city": "Dallas"}, later), latest=True)
    shop.land("orders/date=2026-07-01/o.ndjson", lines(order("o-9", total_amount="1.00"), UNREADABLE[2]), latest=True)
    report = shop.ingest(None)
    assert report.rows_of_erased == 2
    assert not [row for row in shop.raw("customers") if row.get("city") == "Gdynia"]
    assert "bramble" not in json.dumps(shop.query("select original from ecom_raw.unreadable")).lower()


@pytest.mark.parametrize("record", ["", "nothing", "orders:1", "orders-20260531-00001-0:1"])
def test_an_unknown_record_is_an_error(shop, record):
    with pytest.raises(IngestError, match=r"has no record|by the customer_id"):
        person_erasure.erase(shop.settings, shop.endpoints, [], [record])
