"""The marts in BI: equal to the publication, complete at every moment, with keys, comments and a read-only role."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb
import postgres_servers
import psycopg2.errors
import psycopg2.extensions
import pytest
import sqlalchemy
from duckbook.backends import postgres_connection, postgres_server, storage, warehouse
from duckbook.errors import PublishError
from duckbook.publish import bi, bi_files, bi_schema, publisher
from duckbook.publish.publication import Publication
from duckbook.settings import Settings
from duckbook.transform import contracts
from duckbook.transform.contracts import Column, Contract
from shop import copy_of


@pytest.fixture(scope="module")
def shop(built_shop, tmp_path_factory) -> Settings:
    """A published copy of the shop, with its own schema and bucket."""
    settings = copy_of(built_shop[0], tmp_path_factory.mktemp("bi"))
    settings = settings.model_copy(
        update={"bi_schema": "shop_bi", "bi_reader": "shop_reader", "s3_marts_bucket": "shop-marts"}
    )
    publisher.publish(settings, "first")
    return settings


@pytest.fixture(scope="module")
def bi_copy(shop, endpoints) -> bi.BiPublication:
    return bi.publish_bi(shop, endpoints)


@pytest.fixture
def owner(endpoints):
    with postgres_servers.connect(endpoints.postgres_dsn, autocommit=True) as connection:
        yield connection


def reader_dsn(shop, endpoints) -> str:
    reader = bi_schema.reader_for(shop, bi.bi_dsn(shop, endpoints))
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**reader)


@pytest.fixture
def reading(shop, endpoints, bi_copy):
    """A connection as the BI role."""
    with postgres_servers.connect(reader_dsn(shop, endpoints), autocommit=True) as connection:
        yield connection


def test_every_row_equals_the_publication_to_the_cent(shop, bi_copy, reading):
    with publisher.published(shop) as published:
        for mart, rows in published.publication.marts.items():
            expected = published.connection.execute(f"from ecom_marts.{mart}").fetchall()
            copied = reading.execute(f"select * from shop_bi.{mart}").fetchall()
            assert sorted(copied, key=repr) == sorted(expected, key=repr), mart
            assert len(copied) == rows == bi_copy.marts[mart]
    assert reading.execute("select sum(revenue) from shop_bi.fct_order_details").fetchone()[0] > Decimal(0)


def test_the_schema_names_its_run_and_date(bi_copy, reading):
    runs = reading.execute("select distinct run_id, as_of::text from publication").fetchall()
    assert runs == [("first", "2026-06-30")]
    assert reading.execute("select mart, rows from publication").fetchall() == list(bi_copy.marts.items())


def test_a_bi_client_reflects_keys_relations_types_and_comments(shop, endpoints, bi_copy):
    engine = sqlalchemy.create_engine(reader_dsn(shop, endpoints).replace("postgresql:", "postgresql+psycopg2:"))
    inspector = sqlalchemy.inspect(engine)
    assert set(inspector.get_table_names("shop_bi")) == {*bi_copy.marts, "publication"}
    assert inspector.get_pk_constraint("fct_order_details", "shop_bi")["constrained_columns"] == ["order_line_key"]
    references = {
        (key["constrained_columns"][0], key["referred_table"])
        for key in inspector.get_foreign_keys("fct_order_details", "shop_bi")
    }
    assert {("customer_key", "dim_customers"), ("date_key", "dim_dates")} <= references
    table = sqlalchemy.Table("fct_order_details", sqlalchemy.MetaData(), schema="shop_bi", autoload_with=engine)
    assert str(table.c.revenue.type) == "NUMERIC(18, 2)"
    assert not table.c.revenue.nullable
    declared = contracts.load_marts(shop)["fct_order_details"]
    assert table.comment == declared.description != ""
    assert {c.name: c.comment for c in table.c} == {c.name: c.description for c in declared.columns}
    # Join over the reflected keys, as a BI tool does next.
    customers = sqlalchemy.Table("dim_customers", sqlalchemy.MetaData(), schema="shop_bi", autoload_with=engine)
    joined = sqlalchemy.select(sqlalchemy.func.count()).select_from(
        table.join(customers, table.c.customer_key == customers.c.customer_key)
    )
    with engine.connect() as connection:
        assert connection.execute(joined).scalar() == bi_copy.marts["fct_order_details"]
    engine.dispose()


def test_psql_connects_with_the_printed_variables(shop, endpoints, bi_copy):
    reader = bi_schema.reader_for(shop, bi.bi_dsn(shop, endpoints))
    environment = {f"PG{name.replace('dbname', 'database').upper()}": value for name, value in reader.items()}
    psql = postgres_server.find_programs(None) / "psql"
    if not psql.exists():
        pytest.skip("this Postgres comes without psql")
    # The role's search path includes the schema.
    command = [psql, "-XAtc", "select count(*) from dim_dates"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == bi_copy.marts["dim_dates"]


@pytest.mark.parametrize(
    "statement",
    [
        "insert into shop_bi.dim_dates (date_key) values (1)",
        "set default_transaction_read_only = off; create table shop_bi.mine (a int)",
        "set default_transaction_read_only = off; delete from shop_bi.dim_dates",
        "drop schema shop_bi cascade",
        "create table ecom.mine (a int)",
    ],
)
def test_the_bi_role_cannot_write(reading, statement):
    with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction)):
        reading.execute(statement)


def test_the_bi_role_cannot_read_other_schemas(reading, owner):
    owner.execute("create schema if not exists private_matters")
    owner.execute("create table if not exists private_matters.salaries (amount int)")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        reading.execute("select * from private_matters.salaries")
    owner.execute("drop schema private_matters cascade")


def personal_values(shop: Settings) -> set[str]:
    """Every personal value of the marts, as text."""
    values = set()
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        for mart, contract in contracts.load_marts(shop).items():
            for column in contract.personal:
                query = f"select distinct {column}::varchar from ecom_marts.{mart} where {column} is not null"
                values |= {value for (value,) in connection.execute(query).fetchall()}
    return values - {"unknown"}


def test_nothing_personal_reaches_postgres_or_s3(shop, endpoints, bi_copy, reading):
    secret = personal_values(shop)
    assert {"c3@example.com", "Last3", "First3 Last3"} <= secret
    shown = {
        str(value)
        for mart in bi_copy.marts
        for row in reading.execute(f"select * from shop_bi.{mart}").fetchall()
        for value in row
    }
    with warehouse.engine(shop) as engine:
        warehouse.use_s3(engine, endpoints.s3)
        for address in bi_copy.objects.values():
            shown |= {str(value) for row in engine.execute(f"from '{address}'").fetchall() for value in row}
    assert shown & secret == set()
    assert reading.execute("select count(*) from dim_customers where email = '***'").fetchone()[0] > 0


def test_publications_that_hold_personal_data_do_not_go_to_bi_by_mistake(shop, endpoints, tmp_path):
    settings = copy_of(shop, tmp_path).model_copy(update={"bi_schema": "open_bi", "s3_marts_bucket": "open-marts"})
    publisher.publish(settings.model_copy(update={"mask_personal": False}), "open")
    with pytest.raises(PublishError, match="holds unmasked personal data"):
        bi.publish_bi(settings, endpoints)


def test_parquet_lies_behind_a_pointer_and_under_names_that_stay(shop, endpoints, bi_copy):
    client = storage.client(endpoints.s3)
    pointer = json.loads(storage.get_bytes(client, "shop-marts", "current.json"))
    assert (pointer["run_id"], pointer["as_of"], set(pointer["marts"])) == ("first", "2026-06-30", set(bi_copy.marts))
    for mart, key in pointer["marts"].items():
        published = (shop.data / "published" / "first" / f"{mart}.parquet").read_bytes()
        assert storage.get_bytes(client, "shop-marts", key) == published
        assert storage.get_bytes(client, "shop-marts", f"current/{mart}.parquet") == published


def test_the_file_for_power_bi_names_the_server_and_no_password(shop, endpoints, bi_copy):
    (connection,) = json.loads(bi_copy.pbids.read_text("utf-8"))["connections"]
    reader = bi_schema.reader_for(shop, bi.bi_dsn(shop, endpoints))
    assert connection["details"] == {
        "protocol": "postgresql",
        "address": {"server": f"{reader['host']}:{reader['port']}", "database": reader["dbname"]},
    }
    assert reader["password"] not in bi_copy.pbids.read_text("utf-8")


def test_a_foreign_schema_is_not_replaced(shop, endpoints, owner):
    owner.execute("create schema taken")
    with pytest.raises(PublishError, match="was not made by a publication"):
        bi.publish_bi(shop.model_copy(update={"bi_schema": "taken"}), endpoints)
    assert bi.schemas(shop.model_copy(update={"bi_schema": "taken"}), endpoints) == ["taken"]
    owner.execute("drop schema taken")


def test_a_schema_and_a_bucket_of_another_history_are_not_replaced(shop, endpoints, bi_copy, owner):
    (comment,) = owner.execute("select obj_description('shop_bi'::regnamespace, 'pg_namespace')").fetchone()
    owner.execute(f"comment on schema shop_bi is '{comment[:-1]}, of the history abc.'")
    with pytest.raises(PublishError, match="SCHEMA=shop_bi holds the marts of another history"):
        bi_schema.refuse_foreign(owner, "shop_bi", "def")
    owner.execute(f"comment on schema shop_bi is '{comment}'")
    client = storage.client(endpoints.s3)
    for history in (None, "abc"):
        bi_files.upload(client, "two-histories", Publication("one", None, {}), {}, 1, history)
    with pytest.raises(PublishError, match="two-histories holds the marts of another history"):
        bi_files.upload(client, "two-histories", Publication("one", None, {}), {}, 1, "def")


def test_foreign_objects_in_the_bucket_stay_and_old_publications_are_deleted(endpoints, tmp_path):
    client, bucket = storage.client(endpoints.s3), "shared-bucket"
    files = {}
    for mart in ("one", "two"):
        files[mart] = tmp_path / f"{mart}.parquet"
        files[mart].write_bytes(mart.encode())

    def put(run_id: str, marts=files, keep: int = 2, grace=timedelta(0)) -> set[str]:
        bi_files.upload(client, bucket, Publication(run_id, "2026-06-30", {}), marts, keep, grace=grace)
        return {found.key for found in storage.list_objects(client, bucket)} - {"current.json", "duckbook.json"}

    storage.ensure_bucket(client, bucket)
    for taken in ("current.json", "current/report.xlsx", "runs/marathon/times.csv"):
        storage.put_bytes(client, bucket, taken, b"theirs")
        with pytest.raises(PublishError, match=f"shared-bucket holds {taken}, which is not from a publication"):
            put("a")
        storage.delete(client, bucket, taken)
    # A bucket of an earlier version, with foreign objects added since.
    for key in ("runs/a/one.parquet", "current/one.parquet", "current/gone.parquet"):
        storage.put_bytes(client, bucket, key, b"ours")
    pointer = {"run_id": "a", "as_of": None, "marts": {"one": "runs/a/one.parquet", "gone": "runs/a/gone.parquet"}}
    storage.put_bytes(client, bucket, "current.json", json.dumps(pointer).encode())
    theirs = {"current/report.xlsx", "runs/a/notes.txt", "runs/marathon/times.csv", "elsewhere/x"}
    for key in theirs:
        storage.put_bytes(client, bucket, key, b"theirs")
    copies = {"current/one.parquet", "current/two.parquet"}
    both = {name: {f"runs/{name}/one.parquet", f"runs/{name}/two.parquet"} for name in "bcd"}
    assert put("b") == theirs | copies | {"runs/a/one.parquet"} | both["b"]
    assert put("c") == theirs | copies | both["b"] | both["c"]
    assert put("c", {"one": files["one"]}) == theirs | {"current/one.parquet", "runs/c/one.parquet"} | both["b"]
    assert put("d", keep=1) == theirs | copies | both["d"]
    # Readers have an hour to finish, however few publications are kept.
    assert put("b", keep=1, grace=bi_files.GRACE) == theirs | copies | both["d"] | both["b"]
    assert put("c", keep=1, grace=bi_files.GRACE) == theirs | copies | both["d"] | both["b"] | both["c"]
    marked = json.loads(storage.get_bytes(client, bucket, "duckbook.json"))
    assert marked["left"].keys() == {"d", "b"}
    marked["left"]["d"] = (datetime.now(UTC) - bi_files.GRACE).isoformat()
    storage.put_bytes(client, bucket, "duckbook.json", json.dumps(marked).encode())
    assert put("b", keep=1, grace=bi_files.GRACE) == theirs | copies | both["b"] | both["c"]


def test_a_role_with_more_privileges_is_refused_as_reader(shop, endpoints, owner):
    owner.execute("create role a_superuser superuser")
    with pytest.raises(PublishError, match="may do more than read"):
        bi.publish_bi(shop.model_copy(update={"bi_schema": "other_bi", "bi_reader": "a_superuser"}), endpoints)
    owner.execute("drop role a_superuser")
    assert bi.schemas(shop.model_copy(update={"bi_schema": "other_bi"}), endpoints) == []


# The swap itself, with two small tables whose rows all contain their version.

TWO = {
    name: Contract(f"The table {name}.", ("id",), (Column("id", "", True), Column("version", "", True)), {})
    for name in ("left_mart", "right_mart")
}
ROWS = 500


@pytest.fixture(scope="module")
def marts(shop_settings):
    """A DuckDB with the schema `source`, from which tables are copied."""
    with warehouse.engine(shop_settings, trusted=True) as connection:
        connection.execute("load postgres_scanner")
        connection.execute("set pg_null_byte_replacement = ''")
        connection.execute("create schema source")
        yield connection


@pytest.fixture
def publish_tables(marts, endpoints):
    """A function that publishes a version of the two tables, and returns whether the old ones were locked."""

    def publish_version(version: int, patience: float = 20) -> bool:
        with postgres_servers.connect(endpoints.postgres_dsn, autocommit=True) as postgres:
            for name in TWO:
                rows = f"select range::int as id, {version} as version from range({ROWS})"
                marts.execute(f"create or replace table source.{name} as {rows}")
            with postgres:
                bi_schema.build(postgres, marts, "swapped__new", TWO, "source")
                postgres.execute(f"comment on schema swapped__new is '{bi_schema.COMMENT}'")
                locked = bi_schema.swap(postgres, "swapped__new", "swapped", patience)
            bi_schema.drop_old(postgres, "swapped")
        return locked

    return publish_version


@pytest.fixture
def swapped(publish_tables, owner):
    """A schema with version 0 of the two tables, dropped at the end."""
    publish_tables(0)
    yield "swapped"
    for name in bi_schema.existing(owner, "swapped"):
        owner.execute(f"drop schema {name} cascade")


READ = (
    "select count(*), min(l.version), max(l.version), min(r.version), max(r.version) "
    "from swapped.left_mart l join swapped.right_mart r using (id)"
)


def test_readers_in_a_loop_never_see_a_missing_half_or_mixed_table_in_ten_publications(
    endpoints, publish_tables, swapped
):
    stop, seen, faults = threading.Event(), [set(), set(), set()], []

    def read(number: int) -> None:
        try:
            with postgres_servers.connect(endpoints.postgres_dsn, autocommit=True) as reader:
                reader.execute(f"prepare reading as {READ}")
                while not stop.is_set():
                    if number == 2:  # a transaction of two statements, as a dashboard makes
                        with reader:
                            reader.execute("select max(version) from swapped.right_mart")
                            row = reader.execute(READ).fetchone()
                    else:
                        row = reader.execute("execute reading" if number == 1 else READ).fetchone()
                    if row[0] != ROWS or len(set(row[1:])) != 1:
                        faults.append(row)
                    seen[number].add(row[1])
        except psycopg2.Error as error:
            faults.append(error)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    locked = [publish_tables(version) for version in range(1, 11)]
    time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert all(locked)
    # The readers did read in between, and saw the last version.
    assert all(len(versions) > 3 and 10 in versions for versions in seen)


def test_an_earlier_transaction_sees_the_rows_of_the_new_tables(endpoints, publish_tables, swapped):
    with postgres_servers.connect(endpoints.postgres_dsn) as reader:
        reader.isolation_level = psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ
        reader.execute("select 1")  # its snapshot is taken here
        publish_tables(1)
        assert reader.execute(READ).fetchone() == (ROWS, 1, 1, 1, 1)


def test_a_reader_past_the_timeout_keeps_the_old_tables(endpoints, publish_tables, swapped, owner):
    with postgres_servers.connect(endpoints.postgres_dsn) as reader:
        cursor = reader.cursor(name="slow")
        cursor.itersize = 10
        cursor.execute("select version from swapped.left_mart")
        first = cursor.fetchmany(10)
        assert not publish_tables(1, patience=0.2)
        assert owner.execute(READ).fetchone() == (ROWS, 1, 1, 1, 1)
        assert len(bi_schema.existing(owner, swapped)) == 2
        assert {*first, *cursor.fetchall()} == {(0,)}
    assert publish_tables(2)
    assert bi_schema.existing(owner, swapped) == [swapped]


def test_a_connection_lost_in_a_transaction_raises_its_own_error(endpoints, owner):
    lost_error = pytest.raises(psycopg2.OperationalError, match=r"terminating connection|closed the connection")
    with lost_error, contextlib.closing(postgres_connection.connect(endpoints.postgres_dsn)) as lost, lost:
        owner.execute("select pg_terminate_backend(%s)", [lost.info.backend_pid])
        lost.execute("select 1")


def test_a_publication_that_fails_leaves_nothing_behind(marts, swapped, owner):
    marts.execute(
        "create or replace table source.right_mart as select range::int as id, null::int as version from range(9)"
    )
    with pytest.raises(psycopg2.errors.NotNullViolation), owner:
        bi_schema.build(owner, marts, "swapped__new", TWO, "source")
    assert owner.execute(READ).fetchone() == (ROWS, 0, 0, 0, 0)
    assert not owner.execute("select 1 from pg_namespace where nspname = 'swapped__new'").fetchone()


def test_an_error_of_duckdb_in_the_middle_of_a_copy_is_raised_as_it_is(marts, owner):
    value = "case when range = 300000 then error('stopped here')::bigint else range end"
    marts.execute(f"create view source.failing as select {value} as id from range(400000)")
    with pytest.raises(duckdb.Error, match="stopped here"), owner:
        bi_schema.build(owner, marts, "failing__new", {"failing": Contract("", (), (), {})}, "source")


def test_types_and_values_unknown_to_postgres_are_converted(marts, owner):
    query = "select 1::tinyint t, 170141183460469231731687303715884105::hugeint h, 'a' || chr(0) || 'b' z, [1, 2] l"
    marts.execute(f"create table source.odd as {query}")
    with owner:
        bi_schema.build(owner, marts, "odd_types", {"odd": Contract("", (), (), {})}, "source")
    row = owner.execute("select * from odd_types.odd").fetchone()
    owner.execute("drop schema odd_types cascade")
    assert row == (1, Decimal("170141183460469231731687303715884105"), "ab", "[1, 2]")
