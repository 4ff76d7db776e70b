"""Incremental builds equal a full refresh, whatever lands and wherever a build was stopped."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
import rendered
from duckbook.backends import warehouse
from duckbook.settings import Settings
from duckbook.transform import dbt_runner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_rows import Raw
from shop import copy_of

MODELS = (
    "base_customers",
    "base_products",
    "base_interactions",
    "base_orders",
    "base_order_items",
    "base_reviews",
    "int_named_members",
    "int_customer_versions",
    "int_brands",
    "int_product_versions",
    "int_addresses",
    "int_locations",
    "int_customers",
    "int_interactions",
    "int_order_items",
    "int_orders",
    "int_reviews",
    "int_sessions",
    "int_customer_events",
    "fct_product_interactions",
    "fct_order_details",
    "fct_customer_orders",
    "fct_customer_activity",
    "dim_customers_history",
)
"""Models that the tests build, in dbt's order."""

TABLES = (
    "int_brands",
    "int_product_versions",
    "int_locations",
    "int_reviews",
)
"""Models among them that every build makes in full."""

CATEGORIES = """create view ecom_intermediate.int_{0} as
select '1' as {1}_id, '1' as {1}_name, 1 as category_key, '1' as category_name"""
"""Lookups for the versions of products, which none of these models changes."""

STATES = "create table ecom_staging.us_states as select 'IL' as state, 'Illinois' as state_name, 'Midwest' as region"
"""The seed of states."""

MARK = 7
"""A hash for a row that no increment touches. If it is gone, the whole model was rebuilt. No model reads it."""

EXAMPLES, EXAMPLES_IN_SOAK = 4, 400


def _event(event: str, customer: str | None, product: str, session: str | None, day: str) -> dict:
    return {"event_id": event, "customer_id": customer, "product_id": product, "session_id": session, "event_date": day}


EVENTS = st.builds(
    _event,
    st.sampled_from(["1", "2", "3", "3.0", "4", ""]),
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["s", "t", None]),
    st.sampled_from(["2026-05-31 23:00:00", "2026-06-01 01:00:00", "2026-06-09 12:00:00", "yesterday"]),
)
HOLDS = st.sampled_from(["2026-06-01T12:00:00", "2026-06-02T12:00:00", "2026-06-04", None, None])
ROWS = {
    "interactions": EVENTS,
    "customers": st.fixed_dictionaries(
        {
            "customer_id": st.sampled_from(["a", "b"]),
            "city": st.sampled_from("PQ"),
            "state": st.just("IL"),
            "country": st.sampled_from(["United States", "Canada"]),
            "age": st.sampled_from(["1", "old"]),
            "updated_at": HOLDS,
        }
    ),
    "products": st.fixed_dictionaries(
        {"product_id": st.sampled_from("xy"), "cost": st.sampled_from(["1", "2", "dear"]), "updated_at": HOLDS}
    ),
    "orders": st.fixed_dictionaries(
        {
            "order_id": st.sampled_from("12"),
            "customer_id": st.sampled_from(["a", "b", None]),
            "status": st.sampled_from(["pending", "shipped"]),
            "order_date": st.sampled_from(["2026-05-31", "2026-06-02", "2026-06-02T18:00:00", "2026-06-04", None]),
            "shipping_address": st.sampled_from(
                ["1 Elm St, P, IL 60601", "2 Elm St", "3 Elm St, Q", "4 Elm St, R", "Canada", None]
            ),
            "updated_at": st.sampled_from(["2026-06-01", "2026-06-02", None]),
        }
    ),
    "reviews": st.fixed_dictionaries(
        {
            "review_id": st.sampled_from("12"),
            "product_id": st.just("x"),
            "order_id": st.sampled_from(["1", "2", "3", None]),
            "customer_id": st.sampled_from(["a", "b", None]),
            "review_score": st.sampled_from(["5", "good"]),
            "created_at": st.sampled_from(["2026-06-02", None]),
        }
    ),
    "order_items": st.fixed_dictionaries(
        {
            "order_id": st.sampled_from("123"),
            "order_item_id": st.sampled_from("12"),
            "product_id": st.sampled_from("xy"),
            "quantity": st.sampled_from(["1", "2", "2.5"]),
            "unit_price": st.just("3.33"),
            "created_at": st.sampled_from(["2026-06-01", "2026-06-03", None]),
        }
    ),
}
LANDINGS = st.sampled_from([*ROWS, "interactions", "interactions"]).flatmap(
    lambda table: st.tuples(st.just(table), st.integers(0, 5), st.lists(ROWS[table], min_size=1, max_size=4))
)
DAYS = st.lists(
    st.tuples(st.lists(LANDINGS, min_size=1, max_size=3), st.sampled_from([*range(len(MODELS)), *[len(MODELS)] * 12])),
    min_size=2,
    max_size=4,
)
"""Batches that land before each build, and the number of models after which the build is stopped."""


class Builds:
    """A warehouse whose models are rendered and built incrementally as dbt does, each from where it stopped."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        for schema in ("raw", "staging", "intermediate", "marts"):
            connection.execute(f"drop schema if exists ecom_{schema} cascade")
            connection.execute(f"create schema ecom_{schema}")
        connection.execute(CATEGORIES.format("categories", "category"))
        connection.execute(CATEGORIES.format("subcategories", "subcategory"))
        connection.execute(STATES)
        self.raw = Raw(connection)
        self.until: dict[str, int] = {}

    def build(self, models: tuple[str, ...] = MODELS) -> None:
        """Build these models, in order, from the batches that they lack."""
        self._make("table", "stg_batches")
        for name in models:
            if name in self.until and name not in TABLES:
                rendered.increment(self.connection, name, self.until[name])
            else:
                self._make("table", name)
            self.until[name] = self.raw.arrivals
            if name.startswith("base_"):
                self._make("view", name.replace("base_", "stg_"))

    def _make(self, kind: str, name: str) -> None:
        self.connection.execute(f"create or replace {kind} {rendered.relation(name)} as {rendered.model(name)}")

    def differences(self) -> dict[str, list]:
        """Model → rows that only the model or only a full refresh has."""
        found = {}
        for name in MODELS:
            table = rendered.relation(name)
            query = f"""
                with whole as materialized (select * from ({rendered.model(name)}))
                (from {table} except all from whole) union all (from whole except all from {table})
            """
            if rows := self.connection.execute(query).fetchall():
                found[name] = rows
        return found


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect(config={"threads": 1}) as one:
        yield one


@pytest.fixture
def builds(connection) -> Builds:
    return Builds(connection)


def test_whatever_lands_and_wherever_builds_stop_the_next_one_ends_as_a_full_refresh(connection, soak):
    @settings(
        max_examples=EXAMPLES_IN_SOAK if soak else EXAMPLES,
        deadline=None,
        derandomize=not soak,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(DAYS)
    def run(days):
        builds = Builds(connection)
        builds.build()
        for landings, stopped_after in days:
            for table, day, rows in landings:
                builds.raw.land(table, rows, date(2026, 6, 1) + timedelta(day))
            builds.build(MODELS[:stopped_after])
        builds.build()
        assert builds.differences() == {}

    run()


def event(number: str, **columns) -> dict:
    return _event(number, "a", "x", "s", "2026-06-01 10:00:00") | columns


def interaction(builds: Builds, number: str, column: str) -> object:
    query = f"select {column} from ecom_intermediate.int_interactions where event_id = ?"
    return builds.connection.execute(query, [number]).fetchone()[0]


@pytest.fixture
def begun(builds) -> Builds:
    """A built shop that lacks a customer and a product. A marked row shows whether unaffected rows were rebuilt."""
    builds.raw.land("interactions", [event("1"), event("2", session_id="t"), event("3", event_date="yesterday")])
    builds.raw.land("customers", [{"customer_id": "b", "city": "P"}])
    builds.raw.land("products", [{"product_id": "y"}])
    builds.raw.land("orders", [{"order_id": "1", "status": "pending", "updated_at": "2026-06-01"}])
    builds.build()
    builds.connection.execute(f"update ecom_staging.base_interactions set _row_hash = {MARK} where _key = '2'")
    return builds


def differences_except_for_the_mark(builds: Builds) -> dict[str, list]:
    """Return the differences from a full refresh, after checking and removing the mark."""
    kept = "select _row_hash from ecom_staging.base_interactions where _key = '2'"
    landed = "select _row_hash from ecom_raw.interactions where _key = '2'"
    assert builds.connection.execute(kept).fetchone() == (MARK,), "everything was rebuilt"
    builds.connection.execute(f"update ecom_staging.base_interactions set _row_hash = ({landed}) where _key = '2'")
    return builds.differences()


def member(builds: Builds, table: str, identity: str) -> list[tuple]:
    """Return the keys of a member's versions, and whether each is inferred."""
    one = table.removesuffix("s")
    query = f"select {one}_key, {one}_version_key, is_inferred from ecom_intermediate.int_{one}_versions"
    return builds.connection.execute(f"{query} where {one}_id = ?", [identity]).fetchall()


@pytest.mark.parametrize(("table", "row"), [("customers", {"customer_id": "a"}), ("products", {"product_id": "x"})])
def test_a_member_that_events_named_before_its_record_came_keeps_its_key(begun, table, row):
    ((key, version, is_inferred),) = member(begun, table, "ax"[table == "products"])
    assert key == interaction(begun, "1", f"{table.removesuffix('s')}_key") != 0
    assert is_inferred
    begun.raw.land(table, [row])
    begun.build()
    assert member(begun, table, "ax"[table == "products"]) == [(key, version, False)]
    assert differences_except_for_the_mark(begun) == {}


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("orders", {"order_id": "7", "customer_id": "late"}),
        ("reviews", {"review_id": "7", "customer_id": "late", "product_id": "late"}),
        ("order_items", {"order_id": "1", "order_item_id": "1", "product_id": "late"}),
    ],
)
def test_a_member_that_is_named_later_is_inferred_then_and_only_once(begun, table, row):
    for day in (1, 2):
        begun.raw.land(table, [row | {"created_at": f"2026-07-0{day}"}], date(2026, 7, day))
        begun.build()
    for name in ("customers", "products"):
        assert [is_inferred for *_, is_inferred in member(begun, name, "late")] == [True] * (
            f"{name.removesuffix('s')}_id" in row
        )
    assert differences_except_for_the_mark(begun) == {}


def test_a_late_event_takes_the_start_of_its_session(begun):
    assert interaction(begun, "1", "is_session_start")
    begun.raw.land("interactions", [event("9", event_date="2026-05-31 23:00:00")], date(2026, 5, 31))
    begun.build()
    assert interaction(begun, "9", "is_session_start")
    assert not interaction(begun, "1", "is_session_start")
    assert differences_except_for_the_mark(begun) == {}


def test_an_event_that_moves_to_another_session_leaves_the_one_it_was_in(begun):
    begun.raw.land("interactions", [event("9", event_date="2026-06-01 11:00:00")])
    begun.build()
    begun.raw.land("interactions", [event("1", session_id="u")], date(2026, 7, 1))
    begun.build()
    assert interaction(begun, "9", "is_session_start")
    assert differences_except_for_the_mark(begun) == {}


def test_a_row_that_was_quarantined_and_is_sent_well_is_staged(begun):
    begun.raw.land("interactions", [event("3")], date(2026, 7, 1))
    begun.build()
    assert interaction(begun, "3", "occurred_at")
    assert differences_except_for_the_mark(begun) == {}


def test_the_status_of_an_old_order_moves_on_and_not_back(begun):
    moved = {"order_id": "1", "status": "shipped", "updated_at": "2026-06-05"}
    for row, on in ((moved, date(2026, 7, 1)), (moved | {"status": "paid", "updated_at": "2026-06-03"}, None)):
        begun.raw.land("orders", [row], on or date(2026, 7, 2))
        begun.build()
    assert begun.connection.execute("select status from ecom_staging.stg_orders").fetchall() == [("shipped",)]
    assert differences_except_for_the_mark(begun) == {}


@pytest.mark.parametrize("stopped_after", [1, 3, 5])
def test_a_build_that_stopped_between_two_models_is_made_good_by_the_next(begun, stopped_after):
    begun.raw.land("customers", [{"customer_id": "a", "city": "Q"}])
    begun.raw.land("interactions", [event("1", session_id="u")], date(2026, 7, 1))
    begun.build(MODELS[:stopped_after])
    begun.raw.land("interactions", [event("1", session_id="t"), event("4")], date(2026, 7, 2))
    begun.build()
    assert differences_except_for_the_mark(begun) == {}


@pytest.fixture
def shop(built_shop, tmp_path) -> Settings:
    """A copy of the built shop, with a mark in a row that no increment touches."""
    shop = copy_of(built_shop[0], tmp_path)
    with warehouse.open_warehouse(shop) as connection:
        connection.execute(f"update ecom_staging.base_reviews set _row_hash = {MARK} where review_id = '1'")
    return shop


def is_as_it_was(shop: Settings) -> bool:
    """Whether the mark is still there, so that the model was not rebuilt."""
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        query = "select _row_hash from ecom_staging.base_reviews where review_id = '1'"
        return connection.execute(query).fetchone() == (MARK,)


def run(shop: Settings, *arguments: str, project=dbt_runner.PROJECT) -> None:
    outcome = dbt_runner.invoke(shop, ["run", "--no-write-json", *arguments], project)
    assert outcome.success, outcome.exception or [result.message for result in outcome.result]


def rows(shop: Settings) -> dict[str, set[str]]:
    """Model → its rows."""
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        relations = connection.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_schema in ('ecom_staging', 'ecom_intermediate', 'ecom_marts') "
            "and table_name <> '_passed_tests'"
        ).fetchall()
        return {
            name: sorted(connection.execute(f"select t::varchar from {name} as t").fetchall()) for (name,) in relations
        }


def test_a_day_that_is_built_by_dbt_after_one_that_was_killed_ends_as_a_full_refresh(shop):
    with warehouse.open_warehouse(shop) as connection:
        raw = Raw(connection)
        connection.execute("delete from ecom_raw.as_of where rowid > 0")
        raw.arrivals = 1_000
        # Customers and a product that were named before their records landed.
        raw.land("customers", [{"customer_id": "998", "city": "Austin"}, {"customer_id": "999"}], date(2026, 7, 1))
        raw.land("interactions", [event("7", customer_id="998", session_id="s30")], date(2026, 7, 1))
        raw.land("reviews", [{"review_id": "400", "order_id": "3", "review_score": "four"}], date(2026, 7, 1))
    run(shop, "--select", "stg_batches", "base_interactions", "base_reviews")
    with warehouse.open_warehouse(shop) as connection:
        raw.connection = connection
        raw.land("products", [{"product_id": "77", "cost": "1.00"}], date(2026, 7, 2))
        moved = {"order_id": "3", "status": "returned", "updated_at": "2026-07-02T00:00:00", "total_amount": "12"}
        raw.land("orders", [moved], date(2026, 7, 2))
        raw.land("order_items", [{"order_id": "3", "order_item_id": "9", "total_price": "9.99"}], date(2026, 6, 2))
        raw.land("interactions", [event("8"), event("7", session_id="s40")], date(2026, 7, 2))
        raw.land("reviews", [{"review_id": "400", "order_id": "3", "review_score": "4"}], date(2026, 7, 2))
    run(shop)
    assert is_as_it_was(shop)
    with warehouse.open_warehouse(shop) as connection:
        landed = "select _row_hash from ecom_raw.reviews where review_id = '1'"
        connection.execute(f"update ecom_staging.base_reviews set _row_hash = ({landed}) where review_id = '1'")
    increments = rows(shop)
    run(shop, "--full-refresh")
    for name, full in rows(shop).items():
        assert increments[name] == full, name


def test_a_test_of_a_large_table_looks_at_what_was_written_since_it_passed(shop):
    def tested() -> tuple[str, str]:
        arguments = ["test", "--no-write-json", "--select", "int_interactions_has_its_grain"]
        result = next(r for r in dbt_runner.invoke(shop, arguments).result if r.node.resource_type == "test")
        return str(result.status), result.node.compiled_code

    with warehouse.open_warehouse(shop) as connection:
        raw = Raw(connection)
        raw.arrivals = 1_000
        connection.execute("delete from ecom_raw.as_of where rowid > 0")
        raw.land("interactions", [event("1000")], date(2026, 7, 2))
    run(shop, "--select", "+int_interactions")
    table = "ecom_intermediate.int_interactions"
    with warehouse.open_warehouse(shop) as connection:
        connection.execute(f"insert into {table} select * from {table} where event_id = '1000'")
    for _ in range(2):
        status, tested_query = tested()
        assert status == "fail", "rows that failed are tested again"
        assert "_changed_in >" in tested_query
    with warehouse.open_warehouse(shop) as connection:
        connection.execute(f"delete from {table} where event_id = '1000'")
    assert tested()[0] == "pass"
    assert "_changed_in > 1001" in tested()[1]


def gaps(shop: Settings, rows: int = 0) -> int:
    """Delete and insert rows of base_orders; return the number of deleted rows that still take up space."""
    with warehouse.open_warehouse(shop) as connection:
        if rows:
            connection.execute(f"create temp table taken as from ecom_staging.base_orders order by _key limit {rows}")
            connection.execute("delete from ecom_staging.base_orders where _key in (select _key from taken)")
            connection.execute("insert into ecom_staging.base_orders from taken")
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        return connection.execute(
            "select estimated_size - (select count(*) from ecom_staging.base_orders) from duckdb_tables() "
            "where table_name = 'base_orders'"
        ).fetchone()[0]


def bound(shop: Settings, worth: int, share: float) -> None:
    """Set when the hook of `project` fills gaps: from so many rows on, that are such a share of the table."""
    with warehouse.open_warehouse(shop) as connection:
        connection.execute(f"create or replace table ecom_raw.bounds as select {worth} as worth, {share} as share")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with bounds from a table, for dbt parses a project whose settings have changed again."""
    project = shutil.copytree(
        dbt_runner.PROJECT, tmp_path_factory.mktemp("copy") / "dbt", ignore=shutil.ignore_patterns("logs")
    )
    text = (project / "dbt_project.yml").read_text()
    assert "{{ fill_gaps(results) }}" in text
    asked = "fill_gaps(results, 0, *run_query('select worth, share from ecom_raw.bounds').rows[0])"
    hook = f"{{% if execute %}}{{{{ {asked} }}}}{{% endif %}}"
    (project / "dbt_project.yml").write_text(text.replace("{{ fill_gaps(results) }}", hook))
    return project


def test_the_room_of_rows_that_were_taken_out_of_a_large_table_is_used_again_when_they_are_many(shop, project):
    assert gaps(shop) == 0, "gaps of a small shop are filled at once"
    assert gaps(shop, 2) == 2, "who writes to the file leaves them"
    for worth, share, left in ((3, 0.001, 2), (2, 0.9, 2), (2, 0.001, 0)):
        bound(shop, worth, share)
        run(shop, "--select", "base_orders", project=project)
        assert gaps(shop) == left, (worth, share)


def test_a_model_is_built_anew_when_the_code_that_it_comes_of_has_changed(shop, project):
    """Last in the project, because it changes it."""
    bound(shop, 1_000, 1)
    run(shop, "--select", "base_reviews", project=project)
    assert is_as_it_was(shop)
    macro = project / "macros" / "casts.sql"
    macro.write_text(macro.read_text().replace("nullif(trim({{ column }}), '')", "nullif(trim({{ column }}), ' ')", 1))
    run(shop, "--select", "base_reviews", project=project)
    assert not is_as_it_was(shop)


def test_a_model_claims_no_batch_that_the_models_it_reads_have_not_seen(shop):
    with warehouse.open_warehouse(shop) as connection:
        raw = Raw(connection)
        raw.arrivals = 1_000
        connection.execute("delete from ecom_raw.as_of where rowid > 0")
        raw.land("interactions", [event("1000")], date(2026, 7, 2))
        raw.land("customers", [{"customer_id": "1000", "city": "Nowhere"}], date(2026, 7, 2))
    # Skip the earlier layers, as `make pipeline ONLY=marts` does.
    run(shop, "--select", "stg_batches", "fct_product_interactions")
    run(shop, "--select", "base_interactions", "base_customers", "int_customers", "int_products", "int_interactions")
    run(shop, "--select", "int_customer_versions", "int_locations")
    run(shop, "--select", "int_customers", "fct_product_interactions")
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        totals = [
            connection.execute(query).fetchone()[0]
            for query in (
                "select count(*) from ecom_staging.stg_interactions",
                "select sum(events) from ecom_marts.fct_product_interactions",
            )
        ]
        looked_up = "select location_key <> 0 from ecom_intermediate.int_customers where customer_id = '1000'"
        found = connection.execute(looked_up).fetchone()
    assert totals[0] == totals[1]
    assert found == (True,), "what it looks up was not there when it was first built"


def test_a_model_is_built_anew_when_raw_holds_other_batches_than_it_was_built_of(shop):
    with warehouse.open_warehouse(shop) as connection:
        connection.execute("update ecom_raw.batches set content_hash = 'of another history' where sequence = 1")
    run(shop, "--select", "base_reviews")
    assert not is_as_it_was(shop)
