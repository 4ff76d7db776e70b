"""Customer features without future data, and `duckbook.load`."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import duckbook
import duckdb
import pytest
from chains import advance, begin
from duckbook.analysis import features
from duckbook.errors import PublishError, SettingError
from duckbook.publish import publisher
from duckbook.settings import Settings

AS_OF = date(2026, 5, 14)
"""In the middle of a month, and before the last landing of the first publication."""


@pytest.fixture(scope="module")
def shop(start_shop) -> Settings:
    """A shop with two publications: of the first as-of date, and of a hundred days later."""
    made = start_shop("features", customers=300, dirt=0)
    later = made.first_as_of + timedelta(days=100)
    begin(made)
    publisher.publish(made, f"run-{made.first_as_of}")
    advance(made, later)
    publisher.publish(made, f"run-{later}")
    return made


def files(shop: Settings, folder: Path, as_of: date = AS_OF, publication: str | None = None) -> dict[str, str]:
    """Checksums of the files that `features.write` writes."""
    with publisher.published(shop, publication) as published:
        made = features.write(published, folder, as_of)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(made.iterdir())}


def test_features_of_a_day_are_the_same_in_later_publications(shop, tmp_path):
    """Data that landed in the hundred days after change the labels, and no byte of the features."""
    early = files(shop, tmp_path / "early", publication="2026-06-30")
    late = files(shop, tmp_path / "late")
    assert early["features.parquet"] == late["features.parquet"]
    assert "labels.parquet" not in early
    assert "labels.parquet" in late


FUTURE = {
    "dim_customers": """
        select * replace (
            0 as orders, 0 as net_amount, 0 as revenue, 'lost' as customer_status, 99 as age, false as is_active,
            -1 as location_key, null as last_order_at, null as days_since_last_order
        ) from old where coalesce(signed_up_at, first_order_at)::date <= $day or is_unknown""",
    "fct_customer_orders": """
        select * replace (
            'cancelled' as order_status, true as is_cancelled, 1 as cancelled_orders, net_amount as cancelled_amount,
            0 as refund_amount, 0 as revenue, 0 as returned_units, null as is_late, false as has_returns,
            case when delivered_at::date <= $day then delivered_at end as delivered_at
        ) from old where ordered_at::date <= $day""",
    "fct_order_details": """
        select * replace (
            'cancelled' as order_status, true as is_cancelled, net_amount as cancelled_amount, 0 as revenue,
            case when returned_at::date <= $day then returned_units else 0 end as returned_units,
            case when returned_at::date <= $day then returned_at end as returned_at
        ) from old where ordered_at::date <= $day""",
    "fct_customer_reviews": "select * from old where reviewed_at::date <= $day",
    "fct_customer_activity": "select * from old where last_day(month_start) <= $day",
}
"""The marts without any data after a day, and with all columns of current state corrupted."""


def altered(shop: Settings, folder: Path, queries: dict[str, str]) -> Settings:
    """A copy of the published marts, with some replaced by a query over the old mart."""
    shutil.copytree(shop.data / "published", folder / "published")
    copy = Settings(data=folder, _env_file=None)
    current = folder / "published" / (folder / "published" / "CURRENT").read_text("utf-8").strip()
    for mart, query in queries.items():
        file, new = current / f"{mart}.parquet", folder / "new.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"create view old as from read_parquet('{file}')")
            parameters = {"day": AS_OF} if "$day" in query else None
            connection.execute(f"copy ({query}) to '{new}' (format parquet)", parameters)
        new.replace(file)
    return copy


def test_data_after_the_as_of_date_change_no_byte_of_the_features(shop, tmp_path):
    ended = altered(shop, tmp_path / "ended", FUTURE)
    found, expected = files(ended, tmp_path / "found"), files(shop, tmp_path / "expected")
    assert found["features.parquet"] == expected["features.parquet"]
    assert found["labels.parquet"] != expected["labels.parquet"]


@pytest.mark.parametrize(
    ("mart", "change"),
    [
        ("fct_customer_orders", "select * replace (net_amount + 0.01 as net_amount) from old"),
        ("fct_order_details", "select * replace (product_key || 'x' || order_line_key as product_key) from old"),
        ("fct_customer_reviews", "select * replace (1 as review_score) from old"),
        ("fct_customer_activity", "select * replace (views + 1 as views) from old"),
        ("dim_customers", "select * replace (signed_up_at - interval 1 day as signed_up_at) from old"),
    ],
)
def test_data_before_the_as_of_date_change_the_features(shop, tmp_path, mart, change):
    """Proves that the two tests above would detect a leak from this mart."""
    changed = altered(shop, tmp_path / "changed", {mart: change})
    found, expected = files(changed, tmp_path / "found"), files(shop, tmp_path / "expected")
    assert found["features.parquet"] != expected["features.parquet"]


def test_the_same_marts_give_the_same_bytes(shop, tmp_path):
    one_thread = shop.model_copy(update={"threads": 1})
    assert files(shop, tmp_path / "a") == files(one_thread, tmp_path / "b")


def test_labels_count_the_ninety_days_after_and_nothing_else(shop):
    loaded = duckbook.load("features", AS_OF, settings=shop)
    orders = duckbook.load("fct_customer_orders", settings=shop)
    day = orders.ordered_at.dt.date
    later = orders[(day > AS_OF) & (day <= AS_OF + timedelta(days=90))].groupby("customer_key")
    expected = later.revenue.sum().reindex(loaded.customer_key, fill_value=0)
    assert loaded.label_orders_90d.tolist() == later.size().reindex(loaded.customer_key, fill_value=0).tolist()
    assert loaded.label_revenue_90d.to_numpy() == pytest.approx(expected.to_numpy())
    assert loaded.label_orders_90d.sum() > 5


def test_features_count_data_until_the_as_of_date(shop):
    """Compared with an independent computation in pandas."""
    loaded = duckbook.load("features", AS_OF, settings=shop).set_index("customer_key")
    orders = duckbook.load("fct_customer_orders", settings=shop)
    known = orders[orders.ordered_at.dt.date <= AS_OF].groupby("customer_key")
    buyers = loaded[loaded.orders > 0]
    assert buyers.orders.to_dict() == known.size().reindex(buyers.index).to_dict()
    assert buyers.net_amount.to_numpy() == pytest.approx(known.net_amount.sum().reindex(buyers.index).to_numpy())
    last = known.ordered_at.max().reindex(buyers.index).dt.date
    assert buyers.days_since_last_order.tolist() == [(AS_OF - day).days for day in last]
    activity = duckbook.load("fct_customer_activity", settings=shop)
    recent = activity[activity.month_start.astype(str).isin(["2026-02-01", "2026-03-01", "2026-04-01"])]
    sessions = recent.groupby("customer_key").sessions.sum().reindex(loaded.index, fill_value=0)
    assert loaded.sessions_3m.tolist() == sessions.tolist()


def test_the_dictionary_describes_exactly_the_columns(shop, tmp_path):
    dictionary = features.dictionary()
    with publisher.published(shop) as published:
        made = features.write(published, tmp_path, AS_OF)
        for file, columns in (("features", dictionary.features), ("labels", dictionary.labels)):
            described = published.connection.sql(f"describe from '{made / file}.parquet'").fetchall()
            kinds = {name: kind.lower() for name, kind, *_ in described}
            assert {c["name"]: c["type"] for c in columns} == {
                name: kind for name, kind in kinds.items() if file == "features" or name.startswith("label")
            }
        metadata = published.connection.sql(
            f"select decode(key), decode(value) from parquet_kv_metadata('{made}/features.parquet')"
        ).fetchall()
    assert ("features_version", str(dictionary.version)) in metadata
    assert made.parts[-2:] == (f"v{dictionary.version}", str(AS_OF))
    page = (made / "dictionary.md").read_text("utf-8")
    assert set(re.findall(r"^\| (\w+) \|", page, flags=re.MULTILINE)) - {"column"} == {
        column["name"] for column in dictionary.features + dictionary.labels
    }


def test_a_change_of_the_queries_or_of_a_type_needs_a_new_version():
    """If this fails, increase `version` in features.yml and update version and checksum here."""
    folder = Path(features.__file__).parent
    sums = hashlib.sha256()
    for name in ("features.sql", "labels.sql"):
        code = re.sub(r"--.*", "", (folder / name).read_text("utf-8"))
        sums.update(" ".join(code.split()).encode())
    dictionary = features.dictionary()
    for column in (*dictionary.features, *dictionary.labels):
        sums.update(f"{column['name']} {column['type']}".encode())
    assert (dictionary.version, sums.hexdigest()[:12]) == (3, "539060f2500b")


def test_the_datasheet_describes_the_files(shop, tmp_path):
    with publisher.published(shop) as published:
        made = features.write(published, tmp_path, AS_OF)
        rows = published.connection.sql(f"select count(*) from '{made}/features.parquet'").fetchone()[0]
    page = (made / "datasheet.md").read_text("utf-8")
    assert f"{rows:,} customers" in page
    assert "| mean_review_score |" in page
    for heading in ("Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution and maintenance"):
        assert f"## {heading}" in page


def test_published_data_load_as_pandas_arrow_and_polars(shop):
    frame = duckbook.load("features", AS_OF, settings=shop)
    arrow = duckbook.load("features", str(AS_OF), as_="arrow", settings=shop)
    assert list(frame.columns) == arrow.column_names
    assert frame.customer_key.tolist() == arrow["customer_key"].to_pylist()
    assert str(arrow.schema.field("net_amount").type) == "decimal128(18, 2)"
    polars = pytest.importorskip("polars")
    assert isinstance(duckbook.load("features", AS_OF, as_="polars", settings=shop), polars.DataFrame)


def test_a_mart_is_loaded_by_name_and_by_the_date_of_its_publication(shop):
    now = duckbook.load("fct_sales_by_date", settings=shop)
    before = duckbook.load("fct_sales_by_date", "2026-06-30", settings=shop)
    assert len(now) > len(before) > 1000


def test_labels_are_there_only_when_they_are_complete(shop):
    newest = shop.first_as_of + timedelta(days=100)
    assert "label_orders_90d" in duckbook.load("features", newest - timedelta(days=90), settings=shop)
    assert "label_orders_90d" not in duckbook.load("features", newest - timedelta(days=89), settings=shop)
    assert "label_orders_90d" not in duckbook.load("features", AS_OF, labels=False, settings=shop)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"name": "fct_sales_by_dat"}, PublishError, "did you mean fct_sales_by_date?"),
        ({"as_of": "2027-01-01"}, PublishError, "end on 2026-10-08, so there are no features as of 2027-01-01"),
        ({"as_of": "2026-09-01", "labels": True}, PublishError, "need data until 2026-11-30"),
        ({"as_of": "June"}, PublishError, "'June' is not a date"),
        ({"name": "dim_dates", "as_of": "2020-01-01"}, PublishError, "No publication as of 2020-01-01 is kept"),
        ({"name": "dim_dates", "labels": True}, SettingError, "applies only to features"),
        ({"as_": "spark"}, SettingError, "use pandas, arrow, polars"),
    ],
)
def test_invalid_arguments_raise_with_a_message(shop, arguments, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        duckbook.load(**arguments, settings=shop)


def test_without_polars_the_message_says_how_to_install_it(shop, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(SettingError, match="run `make science` once"):
        duckbook.load("features", AS_OF, as_="polars", settings=shop)


def test_loading_holds_no_lock(shop):
    table = duckbook.load("features", AS_OF, as_="arrow", settings=shop)
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('create or replace table main.x as select 1')"
    subprocess.run([sys.executable, "-c", code, str(shop.warehouse_path)], check=True)
    assert len(table)


def test_importing_the_package_stays_light():
    code = "import duckbook, sys; print([m for m in ('pandas', 'duckdb', 'numpy', 'yaml') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
