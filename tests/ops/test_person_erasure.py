"""Erasing a person: out of the history and everything built from it, for good, and without losing money."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import date
from unittest.mock import patch

import duckdb
import pytest
import rendered
from chains import duckbook
from duckbook.backends import manifest, storage, warehouse
from duckbook.errors import BackupError, IngestError
from duckbook.ingest import batch_files, commit_log, raw
from duckbook.ingest.mentions import People
from duckbook.ops import backup, person_erasure, remaining_copies
from duckbook.settings import Settings
from duckbook.transform import masking
from landing_zone import AS_OF, Shop, lines, order

EMAIL, STREET, PHONE = "ada@example.org", "9 Analytical Row, London, LN 10001", "+44 20 7946 0000"

JUNE, MAY = "2026-06-30", "2026-05-31"


def customer(customer_id: object, **further) -> dict:
    return {"customer_id": customer_id, "email": f"{customer_id}@example.org", "city": "Austin"} | further


ADA = customer("7.0", email=EMAIL, first_name="Ada", phone=PHONE)
BOB = customer("8", first_name="Bob")
HERS = order("o-1", customer_id=7, shipping_address=STREET, total_amount="10.00", note="leave it with Ada")
HIS = order("o-2", customer_id=8, shipping_address="1 Elm St", total_amount="20.00")
BROKEN = '{"order_id": "o-9", "customer_id": "7", "shipping_address": "' + STREET
SAID = {"order_id": "o-1", "product_id": "p-1", "review_score": 5, "created_at": "2026-05-01T00:00:00"}
EVENTS = [("e-1", "7", "view"), ("e-2", "8", "view"), ("e-3", "7", "purchase")]


@pytest.fixture
def shop(one_shop) -> Shop:
    """A shop of two customers, of whom Ada is to be erased. Her order landed twice, unchanged."""
    return fill(one_shop)


def fill(shop: Shop) -> Shop:
    shop.clear()
    shop.land(f"customers/date={MAY}/c.ndjson", lines(ADA, BOB))
    shop.land(f"customers/date={JUNE}/c.ndjson", lines(ADA, BOB | {"city": "Dallas"}))
    shop.land(f"orders/date={MAY}/o.ndjson", lines(HERS, HIS, BROKEN))
    shop.land(f"orders/date={JUNE}/o.ndjson", lines(HERS, HIS | {"status": "shipped"}))
    shop.land(f"reviews/date={MAY}/r.ndjson", lines(SAID | {"customer_id": 7, "review_text": "I am Ada and I like it"}))
    shop.land_table("interactions", "event_id text, customer_id text, event_type text", EVENTS, MAY)
    shop.ingest()
    return shop


def erase(shop: Shop, *ids: str) -> person_erasure.Erasure:
    """Erase people as the command does, up to raw."""
    erasure = person_erasure.erase(shop.settings, shop.endpoints, ids or ("7",))
    remaining_copies.discard_warehouse(shop.settings)
    raw.load(shop.settings, shop.endpoints)
    shop.check_row_counts()
    return erasure


def everything_in_the_history(shop: Shop) -> str:
    """Return the content of all objects below ``history/`` as one text, whether a commit names them or not."""
    bucket, texts = shop.settings.s3_historic_bucket, []
    with warehouse.engine(shop.settings) as engine:
        warehouse.use_s3(engine, shop.endpoints.s3)
        for stored in storage.list_objects(shop.client, bucket, "history/"):
            if stored.key.endswith(".parquet"):
                texts += map(repr, engine.execute(f"from 's3://{bucket}/{stored.key}'").fetchall())
            else:
                texts.append(str(storage.get_bytes(shop.client, bucket, stored.key)))
    return "\n".join(texts)


def everything_in_raw(shop: Shop) -> str:
    with warehouse.open_warehouse(shop.settings, read_only=True) as connection:
        names = connection.execute("select schema_name || '.' || table_name from duckdb_tables()").fetchall()
        return "\n".join(_rows_of(connection, name) for (name,) in sorted(names))


def _rows_of(connection, table: str) -> str:
    """Return the rows of a table as text, with rows and columns sorted."""
    names = sorted(name for name, *_ in connection.execute(f"describe {table}").fetchall())
    return repr(sorted(map(repr, connection.execute(f"select {', '.join(names)} from {table}").fetchall())))


HER_OWN = (EMAIL, STREET, PHONE, "Ada")


@pytest.fixture(scope="module", params=["small", "large"])
def erased(request, tmp_path_factory, endpoints) -> tuple[Shop, dict, person_erasure.Erasure]:
    """Return a shop from which Ada was erased, its content before, and the erasure."""
    # The file of a large batch may keep its unchanged rows. The patch makes every batch large.
    with patch.multiple(batch_files, MANY_ROWS=0, FEW_UNCHANGED=1) if request.param == "large" else nullcontext():
        shop = fill(Shop(tmp_path_factory.mktemp("erased"), endpoints, f"erased{request.param}"))
    known = {"texts": everything_in_the_history(shop) + everything_in_raw(shop)}
    known |= {"amounts": shop.query(AMOUNTS), "originals": shop.query(ORIGINALS)}
    return shop, known, erase(shop)


AMOUNTS = "select order_id, total_amount, order_date from ecom_raw.orders order by all"

ORIGINALS = (
    "select count(*) as n from ecom_raw.sightings as unchanged semi join ecom_raw.orders as rows "
    "on unchanged._key = rows._key and unchanged._row_hash = rows._row_hash where table_name = 'orders'"
)


def test_nothing_of_the_person_is_left_in_the_history_or_in_raw(erased):
    shop, before, erasure = erased
    assert all(text in before["texts"] for text in HER_OWN)
    assert erasure.rows == {"customers": 2, "orders": 3, "reviews": 1, "interactions": 2}
    after = everything_in_the_history(shop) + everything_in_raw(shop)
    assert [text for text in HER_OWN if text in after] == []
    assert shop.query("select customer_id from ecom_raw.orders where customer_id = '7'") == []
    assert {row["customer_id"] for row in shop.raw("customers")} == {"8"}


def test_orders_events_and_reviews_stay_without_the_person(erased):
    shop, before, _ = erased
    assert shop.query(AMOUNTS) == before["amounts"]
    (hers,) = (row for row in shop.raw() if row["order_id"] == "o-1")
    assert not {"customer_id", "shipping_address", "note"} & set(hers)
    (his, *_) = (row for row in shop.raw() if row["order_id"] == "o-2")
    assert (his["customer_id"], his["shipping_address"]) == ("8", "1 Elm St")
    assert [(row["event_id"], row.get("customer_id")) for row in shop.raw("interactions")] == [
        ("e-1", None), ("e-2", "8"), ("e-3", None),
    ]  # fmt: skip
    (review,) = shop.raw("reviews")
    assert review["review_score"] == "5"
    assert "review_text" not in review


def test_unchanged_rows_still_refer_to_their_originals(erased):
    shop, before, _ = erased
    assert shop.query(ORIGINALS) == before["originals"] == [{"n": 1}]


def test_the_kept_hash_does_not_reveal_the_id(erased):
    shop = erased[0]
    chronicle = commit_log.read(shop.client, shop.settings.s3_historic_bucket)
    (person,) = chronicle.erased
    assert len(person) == 64
    assert chronicle.salt not in person
    assert '"7"' not in json.dumps(chronicle.commits[-1].forgotten.people)


def test_later_landings_do_not_bring_the_person_back(shop):
    erase(shop)
    new = order("o-3", customer_id="7", shipping_address=STREET, total_amount="5.00")
    shop.land("orders/date=2026-07-01/o.ndjson", lines(HERS, HIS | {"status": "shipped"}, new, BROKEN), latest=True)
    shop.land("customers/date=2026-07-01/c.ndjson", lines(ADA | {"city": "Leeds"}, BOB), latest=True)
    shop.land_table("interactions", "event_id text, customer_id text, event_type text", [*EVENTS, ("e-4", "7", "x")])
    report = shop.ingest(date(2026, 7, 1))
    assert report.rows_of_erased == 3 + 1 + 3
    after = everything_in_the_history(shop) + everything_in_raw(shop)
    assert [text for text in (*HER_OWN, "Leeds") if text in after] == []
    assert {row["customer_id"] for row in shop.raw("customers")} == {"8"}
    amounts = shop.query("select order_id, customer_id from ecom_raw.orders where total_amount = '5.00'")
    assert amounts == [{"order_id": "o-3", "customer_id": None}]
    # Her first order is recognised as unchanged.
    (flows,) = (row for row in report.tables if row["table"] == "orders")
    assert (flows["appended"], flows["unchanged"], flows["unreadable"]) == (1, 2, 1)


def test_an_unchanged_event_without_an_id_is_recognised_after_its_person_is_erased(shop):
    columns, nameless = "event_id text, customer_id text, event_type text", (None, "7", "view")
    for day in ("2026-06-29", JUNE):
        shop.land_table("latest_interactions", columns, [nameless], day)
        shop.ingest()
    erase(shop)
    shop.land_table("latest_interactions", columns, [nameless], "2026-07-01")
    (batch,) = shop.ingest(date(2026, 7, 1)).batches
    assert (batch.appended, batch.unchanged) == (0, 1)


def test_a_rebuild_equals_the_daily_loads(shop):
    erase(shop)
    shop.land("orders/date=2026-07-01/o.ndjson", lines(HERS | {"status": "delivered"}), latest=True)
    shop.ingest(date(2026, 7, 1))
    by_days = everything_in_raw(shop)
    shop.lose_warehouse()
    raw.load(shop.settings, shop.endpoints)
    assert everything_in_raw(shop) == by_days


def test_a_warehouse_that_was_loaded_before_is_rebuilt_by_the_next_load(shop):
    person_erasure.erase(shop.settings, shop.endpoints, ["7"])
    assert EMAIL in everything_in_raw(shop)
    report = raw.load(shop.settings, shop.endpoints)
    assert report.commits == (1, 2)
    assert EMAIL not in everything_in_raw(shop)
    shop.check_row_counts()


def test_an_erasure_that_is_killed_before_its_commit_has_not_happened(shop, monkeypatch):
    before = everything_in_the_history(shop)
    monkeypatch.setattr(commit_log, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        person_erasure.erase(shop.settings, shop.endpoints, ["7"])
    monkeypatch.undo()
    shop.ingest()
    assert everything_in_the_history(shop) == before


def test_an_erasure_that_is_killed_after_its_commit_is_finished_by_the_next_ingest(shop, monkeypatch):
    put = commit_log.put

    def put_and_die(*arguments) -> None:
        put(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(commit_log, "put", put_and_die)
    with pytest.raises(KeyboardInterrupt):
        person_erasure.erase(shop.settings, shop.endpoints, ["7"])
    monkeypatch.undo()
    assert EMAIL in everything_in_the_history(shop)
    shop.ingest()
    assert [text for text in HER_OWN if text in everything_in_the_history(shop) + everything_in_raw(shop)] == []


def test_sources_without_a_person_are_left_alone(shop):
    shop.clear()
    shop.land(f"customers/date={MAY}/c.ndjson", lines(ADA, BOB))
    shop.land(f"orders/date={MAY}/o.ndjson", lines({"order_id": "o-1", "order_date": MAY}))
    shop.land(f"reviews/date={MAY}/r.ndjson", lines({"product_id": "p-1", "review_text": "good"}))
    shop.ingest()
    assert erase(shop).rows == {"customers": 1}
    assert [row["review_text"] for row in shop.raw("reviews")] == ["good"]


def test_values_that_others_share_are_not_taken_for_hers(shop):
    """A date, and the e-mail of a clerk, in undeclared columns."""
    shop.clear()
    clerk = {"clerk": "clerk@shop.example", "seen": "2026-06-30 10:00:00"}
    shop.land(f"customers/date={MAY}/c.ndjson", lines(ADA | clerk, BOB | clerk))
    guests = [order(f"g-{n}", customer_id=None, shipping_address=f"{n} Oak St", **clerk) for n in range(3)]
    broken = '{"order_id": "o-9", "clerk": "clerk@shop.example", "seen": "2026-06-30 10:00:00"'
    shop.land(f"orders/date={MAY}/o.ndjson", lines(HERS | clerk, *guests, broken))
    shop.ingest()
    erasure = erase(shop)
    assert erasure.rows == {"customers": 1, "orders": 1}
    assert erasure.doubts == ()
    assert [row.get("shipping_address") for row in shop.raw() if row["order_id"] != "o-1"] == [
        "0 Oak St", "1 Oak St", "2 Oak St",
    ]  # fmt: skip


def test_a_second_person_is_erased_with_the_same_salt_and_the_first_stays_erased(shop):
    erase(shop, "7")
    erase(shop, "8")
    chronicle = commit_log.read(shop.client, shop.settings.s3_historic_bucket)
    assert len(chronicle.erased) == 2
    assert len({commit.forgotten.salt for commit in chronicle.commits if commit.forgotten}) == 1
    assert shop.raw("customers") == []
    assert shop.query("select count(*) as n from ecom_raw.orders where customer_id is null") == [{"n": 3}]


def test_a_second_erasure_changes_nothing_and_an_unknown_person_is_an_error(shop):
    assert erase(shop).number == 2
    assert erase(shop).number is None
    with pytest.raises(IngestError, match="has no customer_id 99"):
        person_erasure.erase(shop.settings, shop.endpoints, ["99"])


def test_addresses_in_the_run_archive_are_masked(tmp_path):
    page = tmp_path / "run" / "index.html"
    page.parent.mkdir()
    page.write_text(f"<td>{EMAIL}</td><td>8@example.org</td>")
    assert remaining_copies.scrub_archive(tmp_path, People(frozenset("7"), frozenset({EMAIL}))) == 1
    assert page.read_text() == "<td>***</td><td>8@example.org</td>"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"customer_id": "7", "email": "a@b.c", "city": "X"}', '{"customer_id": "7", "email": "***", "city": "X"}'),
        ('{"annual_income": 12.5, "age": 3}', '{"annual_income": "***", "age": 3}'),
        ('{"email": "cut o', '{"email": "***"'),
        ('{"email":"with \\" quote", "age": 3}', '{"email":"***", "age": 3}'),
        ("annual_income: '1o'000' is not a decimal(18,2)", "annual_income: '***' is not a decimal(18,2)"),
        ("total_amount: 'twelve' is not a decimal(18,2)", "total_amount: 'twelve' is not a decimal(18,2)"),
    ],
)
def test_records_quoted_on_pages_are_masked(tmp_path, text, masked):
    settings = Settings(data=tmp_path, _env_file=None)
    with warehouse.engine(settings) as engine:
        shown = engine.execute(f"select {masking.mask_sql(settings, '?::varchar')}", [text]).fetchone()[0]
        open_one = settings.model_copy(update={"mask_personal": False})
        assert engine.execute(f"select {masking.mask_sql(open_one, '?::varchar')}", [text]).fetchone()[0] == text
    assert shown == masked


# Backups, which must not keep an erased person.


@pytest.fixture
def empty(endpoints, tmp_path) -> Shop:
    """A shop without a history, into which one can be restored."""
    shop = Shop(tmp_path / "restored", endpoints, "restored")
    shop.clear()
    return shop


def test_a_restored_shop_has_the_same_history_and_raw(shop, empty, tmp_path):
    made = backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    assert (made.commit, made.kept, made.dropped) == (1, 0, 0)
    restored = backup.restore(empty.settings, empty.endpoints, tmp_path / "kept")
    assert (restored.commit, restored.as_of) == (1, str(AS_OF))
    raw.load(empty.settings, empty.endpoints)
    empty.check_row_counts()
    assert everything_in_raw(empty) == everything_in_raw(shop)
    assert everything_in_the_history(empty) == everything_in_the_history(shop)


def test_a_second_backup_copies_new_files_and_drops_an_erased_person(shop, tmp_path):
    backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    again = backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    assert (again.copied, again.dropped) == (0, 0)
    erase(shop)
    after = backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    assert after.copied > 0 < after.dropped
    named = {
        key for b in commit_log.read(shop.client, shop.settings.s3_historic_bucket).batches for key in b.files.values()
    }
    files = {path.relative_to(tmp_path / "kept").as_posix() for path in (tmp_path / "kept").rglob("*.parquet")}
    assert files == named


def test_a_killed_backup_leaves_the_previous_one(shop, empty, tmp_path, monkeypatch):
    backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    shop.land("orders/date=2026-07-01/o.ndjson", lines(HIS | {"status": "delivered"}), latest=True)
    shop.ingest(date(2026, 7, 1))
    monkeypatch.setattr(backup, "write_private", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    monkeypatch.undo()
    assert backup.restore(empty.settings, empty.endpoints, tmp_path / "kept").commit == 1


def test_the_backup_of_another_history_is_left_as_it_is(shop, empty, tmp_path):
    backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    empty.land(f"orders/date={MAY}/o.ndjson", lines(HIS))
    empty.ingest()
    with pytest.raises(BackupError, match=f"holds the backup of another history, as of {AS_OF}"):
        backup.back_up(empty.settings, empty.endpoints, tmp_path / "kept")
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()} == before


def test_a_damaged_commit_log_is_repaired_by_the_next_backup_and_not_restored(shop, empty, tmp_path):
    backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    commit = tmp_path / "kept" / commit_log.commit_key(1)
    whole = commit.read_bytes()
    for damaged in (b"", whole[:-20], whole.replace(b"2026", b"2025", 1)):
        commit.write_bytes(damaged)
        with pytest.raises(BackupError, match="commit log"):
            backup.restore(empty.settings, empty.endpoints, tmp_path / "kept")
        again = backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
        assert (again.copied, commit.read_bytes()) == (1, whole)


def test_a_folder_with_other_files_below_history_is_no_backup(shop, tmp_path):
    precious = tmp_path / "mine" / "history" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("five years")
    with pytest.raises(BackupError, match="holds files that are not a backup"):
        backup.back_up(shop.settings, shop.endpoints, tmp_path / "mine")
    assert precious.read_text() == "five years"


def test_a_killed_first_backup_is_no_backup_until_it_is_made_again(shop, empty, tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "_fetch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    monkeypatch.undo()
    with pytest.raises(BackupError, match="begun and never finished"):
        backup.restore(empty.settings, empty.endpoints, tmp_path / "kept")
    backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    assert backup.restore(empty.settings, empty.endpoints, tmp_path / "kept").commit == 1


def test_an_incomplete_backup_and_a_shop_that_is_not_empty_are_refused(shop, empty, tmp_path):
    backup.back_up(shop.settings, shop.endpoints, tmp_path / "kept")
    empty.land(f"orders/date={MAY}/o.ndjson", lines(HIS))
    empty.ingest()
    with pytest.raises(BackupError, match="holds a history already, of 1 commits: restore into an empty data folder"):
        backup.restore(empty.settings, empty.endpoints, tmp_path / "kept")
    broken = next((tmp_path / "kept" / "history").rglob("rows.parquet"))
    broken.write_bytes(b"something else")
    with pytest.raises(BackupError, match="is missing or was changed"):
        backup.restore(shop.settings, shop.endpoints, tmp_path / "kept")
    with pytest.raises(BackupError, match="holds no complete backup"):
        backup.restore(shop.settings, shop.endpoints, tmp_path)
    with pytest.raises(BackupError, match="holds files that are not a backup"):
        backup.back_up(shop.settings, shop.endpoints, tmp_path)


def test_a_backup_with_any_file_cut_changed_or_lost_is_not_restored(shop, empty, tmp_path):
    """Each kind of file: the state file with the manifest, commits, rows, unchanged rows, unreadable lines."""
    shop.client.put_object(Bucket=shop.settings.s3_historic_bucket, Key=manifest.KEY, Body=b'{"seed": 42}')
    shop.land(f"orders/date={JUNE}/b.ndjson", lines(HERS))
    shop.ingest()
    kept = tmp_path / "kept"
    try:
        backup.back_up(shop.settings, shop.endpoints, kept)
    finally:
        storage.delete(shop.client, shop.settings.s3_historic_bucket, manifest.KEY)
    files = sorted(path for path in kept.rglob("*") if path.is_file())
    assert {path.name for path in files} >= {backup.STATE_FILE, "00000002.json", "rows.parquet", "unreadable.parquet"}
    for path in files:
        whole = path.read_bytes()
        place = whole.find(b"42") if path.name == backup.STATE_FILE else len(whole) // 2
        turned = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        for damaged in (b"", whole[: len(whole) // 2], whole[:-1], turned, whole + b"x", None):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(BackupError):
                backup.restore(empty.settings, empty.endpoints, kept)
        path.write_bytes(whole)
    assert empty.history_keys() == []


def test_a_generated_shop_is_erased_from_backed_up_restored_and_goes_on(soak, start_shop, tmp_path):
    """The commands on a generated shop: a person is erased everywhere, and days and backups go on."""
    if not soak:
        pytest.skip("two minutes of work: make soak")
    shop = start_shop("whole", customers=200)

    def run(*arguments: str, data=shop, **environment: str) -> str:
        process = duckbook(data, *arguments, **environment)
        output, errors = process.communicate()
        assert process.returncode == 0, output + errors
        return output

    def totals(settings: Settings) -> dict:
        with warehouse.open_warehouse(settings, read_only=True) as connection:
            query = "select sum(revenue), sum(units), count(*) from ecom_marts.fct_order_details"
            unknown = "select sum(orders) from ecom_marts.dim_customers where is_unknown"
            return {"sold": connection.execute(query).fetchone(), "unknown": connection.execute(unknown).fetchone()[0]}

    run("run", "--customers", "200", "--until", "publish", DUCKBOOK_BI="true")
    run("run", "--only", "bi")
    before = totals(shop)
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        query = "select customer_id, orders from ecom_marts.dim_customers where email is not null order by orders desc"
        person, orders = connection.execute(query).fetchone()
    output = run("forget", person)
    assert "Searched for remaining copies" in output
    after = totals(shop)
    assert after["sold"] == before["sold"]
    assert after["unknown"] == before["unknown"] + orders
    run("latest", "--as-of", "2026-07-04")  # days were missed
    run("forget", person)
    run("backup", str(tmp_path / "kept"))
    restored = start_shop("again")
    run("restore", str(tmp_path / "kept"), data=restored)
    assert totals(restored) == totals(shop)
    run("latest", data=restored)
    run("latest")
    assert totals(restored) == totals(shop)


def test_people_are_searched_by_current_and_former_surrogate_keys():
    key = rendered.macro("surrogate_key", ["id"])
    with duckdb.connect() as connection:
        connection.execute("create table people as select unnest(['7', 'A-1']) as id")
        connection.execute("create table everybody as select unnest(['6', '7', 'A-1', null]) as id")
        connection.execute(f"create table marts as select {key} as customer_key from everybody")
        connection.execute("create table old_marts as select md5(coalesce(id, '')) as customer_key from everybody")
        assert remaining_copies._count(connection, "marts") == 2
        assert remaining_copies._count(connection, "old_marts") == 2
