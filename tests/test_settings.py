"""Settings: a wrong one fails at once with a message that names it, and no secret is shown."""

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from chains import Memory
from duckbook.backends import preflight
from duckbook.cli.commands import check_planted
from duckbook.errors import SettingError
from duckbook.runs import runner
from duckbook.runs.request import Request
from duckbook.settings import ROOT, Settings, read_settings, variables
from pydantic import ValidationError


@pytest.fixture
def read(monkeypatch):
    """A function that reads settings from variables: ``read(SEED="7")`` sets DUCKBOOK_SEED."""

    def read_from(**values: str) -> Settings:
        for name, value in values.items():
            monkeypatch.setenv(name if name.startswith("MOTHERDUCK") else f"DUCKBOOK_{name}", value)
        return read_settings(None)

    return read_from


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path, monkeypatch):
    env_file = tmp_path / ".env"
    env_file.write_text("DUCKBOOK_SEED=7\nDUCKBOOK_CUSTOMERS=500\n# DUCKBOOK_DIRT=0.1\n")
    monkeypatch.setenv("DUCKBOOK_SEED", "8")
    found = read_settings(env_file)
    assert (found.seed, found.customers, found.dirt) == (8, 500, 0.002)


def test_an_empty_variable_means_the_default(read):
    assert read(CUSTOMERS="", POSTGRES_DSN="", S3_ENDPOINT="").customers == 10_000


def test_a_misspelt_setting_is_an_error_that_names_the_right_one(read):
    with pytest.raises(SettingError, match=r"DUCKBOOK_CUSTOMER is not a setting: did you mean DUCKBOOK_CUSTOMERS\?"):
        read(CUSTOMER="500")


def test_a_misspelt_setting_in_the_file_is_an_error(tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text("DUCKBOOK_SEAD=7\n")
    with pytest.raises(SettingError, match="DUCKBOOK_SEAD is not a setting: did you mean DUCKBOOK_SEED"):
        read_settings(env_file)


@pytest.mark.parametrize("line", ["DUCKBOOK_SEED", "DUCKBOOK_SEED 7", "=7", 'DUCKBOOK_SEED="7'])
def test_a_malformed_line_of_the_file_is_an_error(tmp_path, line):
    env_file = tmp_path / ".env"
    env_file.write_text(f"# ours\n{line}\n")
    with pytest.raises(SettingError, match=r"\.env, line 2, is not of the form NAME=value"):
        read_settings(env_file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUSTOMERS", "many"),
        ("CUSTOMERS", "10"),
        ("SEED", "-1"),
        ("DIRT", "nan"),
        ("DIRT", "0.5"),
        ("TARGET", "snowflake"),
        ("ORDER_STATUSES", "voided"),
        ("ORDER_STATUSES", "voided=gone"),
        ("ORDER_STATUSES", "{{ gone }}=cancelled"),
        ("ORDER_STATUSES", "lost=cancelled, LOST=refunded"),
        ("FIRST_AS_OF", "20260630"),
        ("FIRST_AS_OF", "86400"),
        ("FIRST_AS_OF", "2026-02-30"),
        ("DATA", __file__),
        ("DATA", f"{__file__}/below"),
        ("DATA", "/tmp/the #1 shop"),
        ("DATA", "/tmp/what?"),
        ("DATA", "/tmp/all*"),
        ("DATA", "/tmp/shop [1]"),
        ("POSTGRES_SCHEMA", "Ecom"),
        ("POSTGRES_SCHEMA", "e-com"),
        ("POSTGRES_SCHEMA", "pg_mine"),
        ("S3_ENDPOINT", "127.0.0.1:9000"),
        ("S3_ENDPOINT", "http://"),
        ("S3_ENDPOINT", "http://host:port"),
        ("S3_ENDPOINT", "http://host:99999"),
        ("S3_ENDPOINT", "https://host/bucket"),
        ("S3_REGION", "US East"),
        ("S3_HISTORIC_BUCKET", "My_Bucket"),
        ("S3_LATEST_BUCKET", "a..b"),
        ("FIRST_AS_OF", "0001-01-01"),
        ("FIRST_AS_OF", "1979-12-31"),
        ("FIRST_AS_OF", "2151-01-01"),
        ("FIRST_AS_OF", "9999-12-31"),
        ("MEMORY_LIMIT", "plenty"),
        ("MEMORY_LIMIT", "0GB"),
        ("MEMORY_LIMIT", "4KMGB"),
        ("MEMORY_LIMIT", "9999999TB"),
        ("MEMORY_LIMIT", "1e3GB"),
        ("MEMORY_LIMIT", "200MB"),
        ("MEMORY_LIMIT", "4"),
        ("THREADS", "0"),
        ("THREADS", "257"),
        ("CUSTOMERS", "199"),
        ("CUSTOMERS", "1000001"),
        ("CUSTOMERS", "1e4"),
        ("SEED", "4294967296"),
        ("DIRT", "0.21"),
        ("DIRT", "-0.001"),
        ("DIRT", "inf"),
        ("QUARANTINE_LIMIT", "1.01"),
        ("QUARANTINE_LIMIT", "nan"),
        ("KEEP_RUNS", "0"),
        ("KEEP_PUBLICATIONS", "0"),
        ("KEEP_RUNS", "many"),
        ("BI_SCHEMA", "pg_bi"),
        ("BI_READER", "Reader"),
        ("LAKE_SCHEMA", "my lake"),
        ("S3_MARTS_BUCKET", "x"),
        ("S3_MARTS_BUCKET", "a" * 64),
        ("MASK_PERSONAL", "perhaps"),
        ("TEXT_MODEL", "nonsense"),
        ("TEXT_MODEL", "module:"),
        ("TEXT_MODEL", "my module:rate"),
        ("PLANTED", "spend_mean=many"),
        ("PLANTED", "spend_mean"),
        ("RUNS", "/dev/null"),
    ],
)
def test_the_message_about_a_wrong_value_shows_setting_and_value(read, name, value):
    with pytest.raises(SettingError) as error:
        read(**{name: value})
    assert f"DUCKBOOK_{name}={value}" in str(error.value)
    assert "is wrong: " in str(error.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "hunter2",
        "mysql://me:hunter2@host/shop",
        "postgresql://me:hunter2@host@db/shop",
        "postgresql://me:hun/ter2@host/shop",
        "postgresql://me:12/hunter2@host/shop",
        "postgresql://me:hunter2%zz@host/shop",
        "postgresql://me:hunter2@host:port/shop",
        "postgresql://me:hunter2@host:99999/shop",
        "host=db password=my hunter2",
    ],
)
def test_the_message_about_a_malformed_dsn_shows_no_part_of_it(read, dsn):
    with pytest.raises(SettingError) as error:
        read(POSTGRES_DSN=dsn)
    assert str(error.value).startswith("DUCKBOOK_POSTGRES_DSN is wrong: must be a Postgres connection string such as")
    assert "hun" not in str(error.value).replace("hundred", "")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:p%40ss@db.example.com:6432/shop?sslmode=require",
        "postgres://db/shop",
        "host=db.example.com port=5432 dbname=shop user=me password='p@ss word'",
        "postgresql://one:5432,two:5433/shop",
        "service=shop",
    ],
)
def test_valid_dsns_are_accepted(read, dsn):
    assert read(POSTGRES_DSN=dsn).postgres_dsn.get_secret_value() == dsn


def test_credentials_in_the_endpoint_are_rejected_and_not_shown(read):
    with pytest.raises(SettingError, match=r"DUCKBOOK_S3_ENDPOINT is wrong: .* no credentials in it") as error:
        read(S3_ENDPOINT="http://me:hunter2@host:9000")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"S3_ACCESS_KEY_ID": "key"}, "go together"),
        ({"S3_ACCESS_KEY_ID": "key", "S3_SECRET_ACCESS_KEY": "hunter2"}, "neither DUCKBOOK_S3_ENDPOINT nor"),
        ({"S3_HISTORIC_BUCKET": "one", "S3_LATEST_BUCKET": "one"}, "must differ"),
        ({"TARGET": "motherduck"}, "needs a token"),
        ({"TARGET": "lake", "LAKE_SCHEMA": "ecom"}, "LAKE_SCHEMA and DUCKBOOK_POSTGRES_SCHEMA must differ"),
        ({"TARGET": "lake", "LAKE_SCHEMA": "ecom_bi"}, "LAKE_SCHEMA and DUCKBOOK_BI_SCHEMA must differ"),
        ({"BI_SCHEMA": "ecom"}, "BI_SCHEMA and DUCKBOOK_POSTGRES_SCHEMA must differ"),
        ({"S3_MARTS_BUCKET": "latest-ecom"}, "must be a bucket of its own"),
    ],
)
def test_conflicting_settings_are_an_error(read, values, sentence):
    with pytest.raises(SettingError, match=sentence) as error:
        read(**values)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUSTOMERS", "200"),
        ("CUSTOMERS", "1000000"),
        ("SEED", "0"),
        ("SEED", "4294967295"),
        ("DIRT", "0"),
        ("DIRT", "0.2"),
        ("FIRST_AS_OF", "1980-01-01"),
        ("FIRST_AS_OF", "2150-12-31"),
        ("QUARANTINE_LIMIT", "0"),
        ("QUARANTINE_LIMIT", "1"),
        ("KEEP_RUNS", "1"),
        ("THREADS", "1"),
        ("THREADS", "256"),
        ("MEMORY_LIMIT", "256MB"),
        ("S3_MARTS_BUCKET", "abc"),
        ("TEXT_MODEL", "my_models.sentiment:rate"),
    ],
)
def test_values_at_the_limits_are_accepted(read, name, value):
    assert str(getattr(read(**{name: value}), name.lower())).removesuffix(".0") == value


@pytest.mark.parametrize(
    ("planted", "sentence"),
    [
        ("spend_mean=0", r"spend_mean=0\.0 must lie between 0\.001 and 10000\.0"),
        ("bgnbd_r=-1", r"bgnbd_r=-1\.0 must lie between"),
        ("nonsense=1", "there is no planted number nonsense"),
    ],
)
def test_an_impossible_planted_parameter_is_an_error_before_the_run_begins(tmp_path, planted, sentence):
    shop = Settings(data=tmp_path / "data", runs=tmp_path / "runs", planted=planted, _env_file=None)
    with pytest.raises(SettingError, match=sentence):
        runner.run(shop, Request(), Memory(), checks=[check_planted])
    assert not shop.runs.exists()


def test_motherducks_own_variable_is_read(read):
    assert read(TARGET="motherduck", MOTHERDUCK_TOKEN="hunter2").motherduck_token.get_secret_value() == "hunter2"


def test_no_secret_shows_in_a_repr(read):
    found = read(
        POSTGRES_DSN="postgresql://me:hunter2@h/d",
        S3_ENDPOINT="http://h:1",
        S3_ACCESS_KEY_ID="key",
        S3_SECRET_ACCESS_KEY="hunter3",
        S3_SESSION_TOKEN="hunter4",
        MOTHERDUCK_TOKEN="hunter5",
    )
    assert "hunter" not in f"{found!r} {found}"
    assert {"hunter3", "hunter4", "hunter5", "postgresql://me:hunter2@h/d"} == set(found.secrets())


def test_pydantics_own_errors_show_no_secret():
    with pytest.raises(ValidationError) as error:
        Settings(_env_file=None, postgres_dsn="postgresql://me:hunter2@h:no-port/d", on_failure_webhook="hunter3")
    assert "hunter" not in f"{error.value} {error.value!r}"


@pytest.mark.parametrize("url", ["hooks.example.com/x", "ftp://h/x", "http://", "http://h:99999/x"])
def test_a_malformed_webhook_is_an_error_and_not_shown(read, url):
    with pytest.raises(SettingError, match=r"DUCKBOOK_ON_FAILURE_WEBHOOK is wrong: must be a URL") as error:
        read(ON_FAILURE_WEBHOOK=url)
    assert url not in str(error.value)


def test_a_command_with_an_open_quote_is_an_error(read):
    with pytest.raises(SettingError, match="must be a command whose quotes are closed"):
        read(ON_FAILURE="notify-send 'oh")


def test_servers_without_settings_are_embedded(read):
    assert (read().embedded_postgres, read().embedded_s3) == (True, True)
    assert read(POSTGRES_DSN="postgresql://h/d").embedded_postgres is False
    assert read(S3_REGION="eu-central-1").embedded_s3 is False


def test_reading_the_settings_imports_nothing_heavy():
    script = "import sys, duckbook.settings as s; s.read_settings(None); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"duckdb", "pandas", "boto3", "psycopg2", "dbt", "psutil"} & set(found) == set()


def documented() -> dict[str, str]:
    """Return the settings that ``.env.example`` documents: name → value."""
    text = (ROOT / ".env.example").read_text("utf-8")
    return dict(re.findall(r"^# (DUCKBOOK_\w+)=(.*)$", text, flags=re.MULTILINE))


def test_the_example_file_documents_every_setting_and_no_other():
    assert list(documented()) == list(variables())


def test_the_example_file_shows_the_defaults():
    defaults = {name: Settings.model_fields[field].default for name, field in variables().items()}
    shown = {
        name: "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in defaults.items()
    }
    assert documented() == shown


def test_the_example_file_sets_nothing_and_can_be_copied_as_it_is(tmp_path):
    text = (ROOT / ".env.example").read_text("utf-8")
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []
    uncommented = tmp_path / ".env"
    uncommented.write_text(re.sub(r"^# (DUCKBOOK_)", r"\1", text, flags=re.MULTILINE))
    found = read_settings(uncommented)
    assert found == read_settings(None)
    assert (found.first_as_of, found.data) == (date(2026, 6, 30), Path(ROOT / "data"))


@pytest.mark.parametrize("value", ["256MB", "4GB", "1.5 GiB", "16tb"])
def test_memory_sizes_that_duckdb_reads_are_accepted(read, value):
    import duckdb

    duckdb.connect(config={"memory_limit": read(MEMORY_LIMIT=value).memory_limit}).close()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("0001-01-01", "AS_OF=0001-01-01 is wrong: it must be a date from 1980-01-01 to 2150-12-31."),
        ("2400-01-01", "AS_OF=2400-01-01 is wrong: it must be"),
        ("2026-W01-1", "AS_OF=2026-W01-1 is no date"),
        ("20260630", "AS_OF=20260630 is no date"),
    ],
)
def test_an_impossible_as_of_date_is_an_error_before_anything_is_written(tmp_path, value, sentence):
    words = [sys.executable, "-m", "duckbook.cli.commands", "run", "--data", str(tmp_path / "data"), "--as-of", value]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr.startswith(sentence)) == (2, True)
    assert not (tmp_path / "data").exists()


def test_an_as_of_date_after_today_is_an_error_with_your_own_data():
    """The data folder cannot be written, so an as-of date in the past fails later."""
    asked = ["run", "--no-generate", "--data", "/proc/store", "--runs", "/proc/runs", "--as-of"]
    for day, is_error in (("2150-01-01", True), ("2026-06-30", False)):
        done = subprocess.run(
            [sys.executable, "-m", "duckbook.cli.commands", *asked, day], capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"AS_OF={day} is after today: ") is is_error, done.stderr


def test_a_missing_failure_program_is_an_error_before_the_run(tmp_path):
    chosen = Settings(data=tmp_path, on_failure="/no/such/program {sentence}", _env_file=None)
    with pytest.raises(SettingError, match=r"DUCKBOOK_ON_FAILURE=.* there is no program /no/such/program"):
        preflight.check(chosen)
