"""Objects in every format, whole and broken: readable records are ingested, others kept as unreadable or reported."""

import bz2
import gzip
import json

import pyarrow
import pytest
from duckbook.errors import IngestError
from duckbook.ingest import object_formats, rows, small_objects
from duckbook.ingest.sources import date_in_metadata, date_in_path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from landing_zone import content, lines, order

ROWS = [order(1, note="é"), order(2), order(3, "shipped")]
TEXTS = [{name: str(value) for name, value in row.items()} for row in ROWS]


def document(**further) -> dict:
    return {"metadata": {"by": "them"}, "data": ROWS} | further


def zstd(body: bytes) -> bytes:
    packed = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(body)
    return packed.getvalue().to_pybytes()


FORMATS = {
    "o.ndjson": lines(*ROWS),
    "no end of line.ndjson": lines(*ROWS).rstrip(),
    "o.ndjson.gz": gzip.compress(lines(*ROWS)),
    "zipped in two parts.gz": gzip.compress(lines(ROWS[0])) + gzip.compress(lines(*ROWS[1:])),
    "o.ndjson.zst": zstd(lines(*ROWS)),
    "array.json.zst": zstd(json.dumps(ROWS).encode()),
    "o.ndjson.bz2": bz2.compress(lines(*ROWS)),
    "crlf.json": b"\r\n".join(lines(*ROWS).split(b"\n")),
    "blank lines": b"\n  \n" + b"\n\n".join(lines(*ROWS).split(b"\n")),
    "bom.jsonl": b"\xef\xbb\xbf" + lines(*ROWS),
    "array.json": json.dumps(ROWS).encode(),
    "spread array": b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2).encode(),
    "array.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "document.json": json.dumps(document()).encode(),
    "spread document": json.dumps(document(), indent=2).encode(),
    "metadata last": json.dumps({"version": 2} | dict(reversed(document().items())), indent=2).encode(),
    "long metadata": json.dumps(document(metadata={"note": "x" * 100_000})).encode(),
    "what? a *[pattern]+%20&é.json": lines(*ROWS),
}


def test_every_format_gives_the_same_rows(shop):
    # Each on the next day, so that all rows but those of the first are unchanged.
    addresses = {}
    for number, (name, body) in enumerate(FORMATS.items(), 1):
        addresses[name] = shop.land(f"orders/date=2026-05-{number:02d}/{name}", body)
    shop.ingest()
    rows = shop.raw()
    first = next(iter(addresses.values()))
    assert [content(row) for row in rows if row["_source"] == first] == TEXTS
    assert [row["_row_number"] for row in rows if row["_source"] == first] == [1, 2, 3]
    counts = shop.query(
        "select source, landed, unchanged from ecom_raw.batches where table_name = 'orders' order by sequence"
    )
    assert [row["source"] for row in counts] == list(addresses.values())
    assert [(row["landed"], row["unchanged"]) for row in counts] == [(3, 0), *[(3, 3)] * (len(FORMATS) - 1)]


def test_a_large_object_is_read_in_place_and_its_broken_lines_are_found(shop):
    rows = [order(n, "x" * 100) for n in range(9_000)]
    shop.land("orders/large.ndjson", lines(*rows[:5000], "{oops", *rows[5000:], "{oops again"))
    shop.ingest()
    assert len(shop.raw()) == 9_000
    assert [row["_row_number"] for row in shop.raw()][4998:5002] == [4999, 5000, 5002, 5003]
    assert shop.query("select row_number, original from ecom_raw.unreadable order by 1") == [
        {"row_number": 5001, "original": "{oops"}, {"row_number": 9002, "original": "{oops again"},
    ]  # fmt: skip


def test_a_huge_record_is_a_record(shop):
    shop.land("orders/huge.ndjson", lines(order(1, "x" * 40_000_000), order(2)))
    shop.ingest()
    assert [len(row["status"]) for row in shop.raw()] == [40_000_000, len("pending")]


REASONS = {
    b'{"order_id": 1': "is not JSON: Expecting ',' delimiter at character 15",
    b'{"order_id": "1': "is not JSON: Unterminated string starting at character 14",
    b"order_id,status": "is not JSON: Expecting value at character 1",
    b'{"order_id": 1} {"order_id": 2}': "is not JSON: Extra data at character 17",
    b'{"order_id": "\xff"}': "is not UTF-8 at byte 15",
    b"[1, 2]": "is not a JSON object but an array",
    b"42": "is not a JSON object but a number",
    b"null": "is not a JSON object but null",
    b'{"order_id": 1, "order_id": 2}': "has the column order_id twice",
    b'{"order_id": 1, "Order_ID ": 2}': "has the column order_id twice",
    b'{"order_id": 1, "_key": 2, "_KEY_of_source": 3}': "has the column _key_of_source twice",
    b'{"order_id": 1, "": 2, "unnamed": 3}': "has the column unnamed twice",
    b'{"\\ud800": 1, "\\ud800": 2}': "has the column \\ud800 twice",
    b'{"order_id": "\\udc00"}': "is not strict JSON",
    b'{"order_id": 1, "no\\u0000te": 2}': "has a name with the character U+0000",
    b'{"order_id": 1, "x": %s%s}' % (b"[" * 101, b"]" * 101): "is nested more than 100 levels deep",
    b'{"order_id": 1, "x": %s%s}' % (b"[" * 5_000, b"]" * 5_000): "is nested more than 100 levels deep",
    b'{"a":' * 300_000 + b"1" + b"}" * 300_000: "is nested more than 100 levels deep",
    b'{"order_id": %s' % (b"9" * 5_000): "is not JSON: Expecting ',' delimiter at character 5014",
    b"[" * 5_000: "is nested more than 100 levels deep",
    b"\x00{": "is not JSON: Expecting value at character 1",
}


def test_a_line_that_is_not_a_record_is_kept_with_its_text_and_the_reason(shop):
    shop.land("orders/o.ndjson", lines(order(1)) + b"\n".join(REASONS) + b"\n\n" + lines(order(2)))
    shop.ingest()
    found = shop.query("select row_number, reason, original from ecom_raw.unreadable order by row_number")
    assert [tuple(row.values()) for row in found] == [
        (number, reason, line.decode(errors="backslashreplace"))
        for number, (line, reason) in enumerate(REASONS.items(), 2)
    ]
    assert [(row["_key"], row["_row_number"]) for row in shop.raw()] == [("1", 1), ("2", len(REASONS) + 2)]


def nested(levels: int) -> bytes:
    return b'{"order_id": 2, "note": %s%s}' % (b"[" * levels, b"]" * levels)


@st.composite
def hostile_lines(draw) -> bytes:
    """Hostile lines: odd names and values, truncated, with inserted bytes, random bytes or deeply nested."""
    texts = st.text(st.characters(codec=None, exclude_characters="\n"), max_size=8)
    names = texts | st.sampled_from(["", "_key", "_key_of_source", "order_id", "Order_ID", "İ", "ſtatus", "a/b~", "\0"])
    values = st.recursive(
        texts | st.integers() | st.integers(10**30, 10**40) | st.floats() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    )
    pairs = draw(st.lists(st.tuples(names, values), max_size=5))
    line = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs)
    line = f"{{{line}}}".encode()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(line)))
        line = (
            line[:at] + draw(st.binary(max_size=3) | st.sampled_from([b"\r", b"\x00", b"\xff", b'"', b"{"])) + line[at:]
        )
    return draw(st.sampled_from([line, line[: len(line) // 2]]) | st.binary(max_size=12) | st.builds(nested, levels))


levels = st.integers(0, 20_000)


def test_an_ingest_never_fails_by_a_line_and_every_line_is_accounted_for(shop, soak):
    @settings(
        max_examples=60 if soak else 4,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(hostile_lines(), min_size=30, max_size=60))
    def run(hostile):
        shop.clear()
        records = [order(f"sound {n}", note=f"is {n}") for n in range(len(hostile))]
        body = b"\n".join(line for n, bad in enumerate(hostile) for line in (lines(records[n]).rstrip(), bad))
        shop.land("orders/o.ndjson", body)
        (batch,) = (batch for batch in shop.ingest().batches if batch.table == "orders")
        written = [line.strip(object_formats.SPACE) for line in body.split(b"\n") if line.strip(object_formats.SPACE)]
        assert batch.landed == len(written)
        kept = {row["_row_number"]: row for row in shop.raw()}
        unreadable = {row["row_number"]: row for row in shop.query("from ecom_raw.unreadable")}
        unchanged = {row["_row_number"] for row in shop.query("from ecom_raw.sightings")}
        numbers = [*kept, *unreadable, *unchanged]
        assert sorted(numbers) == list(range(1, len(written) + 1))
        for number, row in unreadable.items():
            assert row["original"] == written[number - 1].decode(errors="backslashreplace")
            assert row["reason"]
        assert [content(row) for row in kept.values() if str(row.get("order_id", "")).startswith("sound")] == records
        for number, row in kept.items():
            record = json.loads(written[number - 1])
            texts = {rows.column_name(name): value for name, value in record.items() if isinstance(value, str)}
            assert {name: row[name] for name in texts} == texts
            assert len(set(map(rows.column_name, record))) == len(record)

    run()


@pytest.mark.parametrize(
    "record",
    [
        {"order_id": 1, "data": [1, 2]},
        {"order_id": 1, "data": [{"order_id": 5}]},
        {"Order_ID": 1, "data": []},
        {"order_id": 1, "metadata": {"by": "us"}, "data": [{"order_id": 5}]},
        {"customer_id": 7, "data": ["x"]},
    ],
)
def test_a_single_record_with_a_list_called_data_is_a_record(shop, record):
    shop.land("orders/o.ndjson", json.dumps(record).encode())
    shop.ingest()
    (row,) = shop.raw()
    given = {name.lower(): value if isinstance(value, int) else json.dumps(value) for name, value in record.items()}
    assert {name: row[name].replace(" ", "") for name in given} == {
        name: str(value).replace(" ", "") for name, value in given.items()
    }


def test_tiny_objects_are_read_together_with_the_same_result(shop, monkeypatch):
    """Of several schemas and formats, some broken, without a key, empty, or with clashing names."""
    bodies = [
        *(lines(order(n), order(f"{n}b", "shipped", note=n)) for n in range(8)),
        *(json.dumps([order(n), order(n)]).encode() for n in range(20, 24)),
        *(lines(order(n, file="f", json=1, _keyless=2, n=3, pack=4, filename="x", number=n)) for n in range(60, 63)),
        lines(*({"order_id": f"{n}c", "total_amount": n} for n in range(50))),
        lines(order(30), "{oops"),
        lines({"Order_ID": 31}, {"order_id ": 32}),
        lines({"order_id": 33, "_key": 1}, {"order_id": 34, "_KEY": 2}),
        lines({"status": "no key"}, {"status": "no key"}),
        b"",
        json.dumps(document()).encode(),
        gzip.compress(lines(order(35))),
    ]
    states = []
    for most in (100, 1):
        shop.clear()
        monkeypatch.setattr(small_objects, "OBJECTS_PER_PACK", most)
        for n, body in enumerate(bodies):
            shop.land(f"orders/o{n:02d}.json", body)
            shop.land(f"reviews/r{n:02d}.json", lines({"review_text": f"{n}"}, {"review_text": f"{n}"}))
        report = shop.ingest()
        states.append((shop.dump(), [(b.batch_id, b.columns, b.types, b.drift) for b in report.batches]))
    assert states[0] == states[1]


def test_an_element_of_an_array_that_is_not_a_record_is_unreadable(shop):
    shop.land("orders/o.json", json.dumps([order(1), 5, order(2), None]).encode())
    shop.ingest()
    found = shop.query("select row_number, original from ecom_raw.unreadable order by 1")
    assert found == [{"row_number": 2, "original": "5"}, {"row_number": 4, "original": "null"}]


def test_a_line_that_was_fixed_at_its_source_is_ingested(shop):
    shop.land("orders/o.ndjson", lines(order(1), '{"order_id": 2'))
    shop.ingest()
    shop.land("orders/o.ndjson", lines(order(1), order(2)))
    shop.ingest()
    assert shop.newest().keys() == {"1", "2"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lines(*ROWS).decode().encode("utf-16"), "it is not text in UTF-8"),
        (gzip.compress(lines(*ROWS) * 500)[:-300], "its gzip is broken"),
        (zstd(lines(*ROWS) * 500)[:-10], "its zstd is broken"),
        (bz2.compress(lines(*ROWS) * 500)[:-10], "its bzip2 is broken"),
        (b"PK\x03\x04" + bytes(50), "it is a zip archive"),
        (b"[" * 2_000 + b"]" * 2_000, "none of its 1 lines is a JSON object"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, "none of its 1 lines is a JSON object"),
        (b"<html>\n<body>Access denied</body>\n</html>", "none of its 3 lines is a JSON object"),
        (b"order_id,status\n1,new\n", "none of its 2 lines is a JSON object"),
        (json.dumps(ROWS).encode()[:-20], "Malformed JSON"),
        (json.dumps(document()).encode()[:-20], "Malformed JSON"),
        (json.dumps(document(), indent=1).encode()[:-20], "Malformed JSON"),
        (json.dumps(document(data={"order_id": 1})).encode(), 'holds a list of records under "data"'),
        (json.dumps(document()).encode() + b"\n" + lines(order(9)), 'holds a list of records under "data"'),
        (json.dumps({f"key-{n}": n for n in range(3_000)}).encode(), "have 3,000 different names"),
    ],
)
def test_an_object_that_cannot_be_read_at_all_is_an_error_and_nothing_is_ingested(shop, body, why):
    shop.land("orders/good.ndjson", lines(order(7)))
    address = shop.land("orders/date=2026-06-01/bad.json", body)
    with pytest.raises(IngestError) as error:
        shop.ingest()
    assert str(error.value).startswith(f"{address} cannot be read: ")
    assert why in str(error.value)
    assert str(shop.settings.data) not in str(error.value)
    assert shop.history_keys() == []


def test_an_object_without_records_is_a_batch_without_rows(shop):
    shop.land("orders/o.ndjson", lines(order(1)))
    for name, body in {
        "empty": b"",
        "blank": b" \n\n",
        "array": b"[]",
        "document": b'{"metadata": {}, "data": []}',
    }.items():
        shop.land(f"customers/{name}", body)
    report = shop.ingest()
    assert [b.landed for b in report.batches if b.table == "customers"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("json/orders/date=2026-06-30/o.ndjson", "2026-06-30"),
        ("json/orders/2026-06-01/export-2026-06-02.json", "2026-06-02"),
        ("json/orders/2026-01-01_2026-03-31.json", "2026-03-31"),
        ("json/orders/year=2026/month=6/day=3/part.json", "2026-06-03"),
        ("json/orders/2026/06/30/part-0001.json", "2026-06-30"),
        ("json/orders/o_20260630.json.gz", "2026-06-30"),
        ("json/orders/o_20260630123456.json", None),
        ("json/orders/20261345.json", None),
        ("json/orders/part-00000001.json", None),
        ("json/orders.json", None),
    ],
)
def test_a_path_declares_its_date(path, found):
    assert (date_in_path(path) or "") == "" if found is None else str(date_in_path(path)) == found


@pytest.mark.parametrize(
    ("metadata", "found"),
    [({"date": "2026-06-30"}, "2026-06-30"), ({"generated_at": "2026-06-30T10:00:00Z", "date": None}, "2026-06-30"),
     ({"as_of": "soon"}, "None"), ([], "None"), (None, "None")],
)  # fmt: skip
def test_metadata_declare_their_date(metadata, found):
    assert str(date_in_metadata(metadata)) == found
