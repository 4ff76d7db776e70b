"""Settings, read from the environment and from ``.env``.

A variable of the environment wins over ``.env``, which wins over the default. `.env.example` documents each setting.
An unknown name that starts with ``DUCKBOOK_`` is an error, because a misspelt setting that is silently ignored is
worse than none. Secret values (`SecretStr`) never appear in a repr.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dotenv.parser import parse_stream
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from duckbook.errors import SettingError


def calendar_date(value: object) -> object:
    """Validate that a date is written YYYY-MM-DD; pydantic would read a bare number as seconds since 1970."""
    if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError("must be a date such as 2026-06-30")
    return value


EARLIEST, LATEST = date(1980, 1, 1), date(2150, 12, 31)
"""The range of as-of dates. Staging accepts a few years before and a few months after it."""


def as_of_date(value: date) -> date:
    """Validate that a date is in the range of as-of dates."""
    if not EARLIEST <= value <= LATEST:
        raise ValueError(f"must be a date from {EARLIEST} to {LATEST}")
    return value


def number_pairs(value: str) -> str:
    """Normalize ``NAME=NUMBER`` pairs: sorted, separated by spaces."""
    words = value.replace(",", " ").split()
    if not all(re.fullmatch(r"[a-z_]+=-?[0-9]+(\.[0-9]*)?", word) for word in words):
        raise ValueError("must be NAME=NUMBER pairs such as 'bgnbd_r=0.3 spend_mean=60'")
    return " ".join(sorted(words))


ORDER_STATUSES = ("pending", "processing", "shipped", "delivered", "cancelled", "returned", "refunded")
"""The values of an order's status. dbt_project.yml maps the words that shops use to them."""


def status_words(value: str) -> str:
    """Normalize ``WORD=STATUS`` pairs; each word is spelled as staging looks it up."""
    statuses: dict[str, str] = {}
    for pair in filter(None, (text.strip() for text in value.split(","))):
        word, _, status = (part.strip().lower() for part in pair.partition("="))
        word = re.sub(r"[\s_-]+", "_", word).removeprefix("wc_")
        if (
            not re.fullmatch(r"[^\"\\{}=,\x00-\x1f]+", word)
            or status not in ORDER_STATUSES
            or statuses.setdefault(word, status) != status
        ):
            raise ValueError(
                "must be WORD=STATUS pairs such as 'lost in post=cancelled, bezahlt=processing', each word once, "
                f"where a status is one of {', '.join(ORDER_STATUSES)}"
            )
    return ",".join(f"{word}={status}" for word, status in sorted(statuses.items()))


def plain_name(value: str) -> str:
    """Validate the name of a schema or database that needs no quotes."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", value) or value.startswith("pg_"):
        raise ValueError("must be a plain lower-case name such as 'ecom'")
    return value


def bucket_name(value: str) -> str:
    """Validate a bucket name by the rules of S3."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value) or ".." in value:
        raise ValueError("must be a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens")
    return value


def connection_string(value: SecretStr | None) -> SecretStr | None:
    """Validate a Postgres connection string."""
    if value and not _is_dsn(value.get_secret_value()):
        raise ValueError(
            "must be a Postgres connection string such as postgresql://USER:PASSWORD@HOST:5432/DATABASE "
            "(in it, a password's own @ / : % are written %40 %2F %3A %25)"
        )
    return value


def bare_url(value: str | None) -> str | None:
    """Validate a server's URL without path, query or credentials."""
    if value is None:
        return None
    try:
        url = urlsplit(value)
        bare = bool(url.hostname) and url.port != 0 and not (url.path.strip("/") or url.query or url.username)
    except ValueError:
        bare = False
    if not bare or url.scheme not in {"http", "https"}:
        raise ValueError("must be a URL such as http://127.0.0.1:9000, with no path and no credentials in it")
    return value.rstrip("/")


def region(value: str | None) -> str | None:
    """Validate the name of a region."""
    if value and not re.fullmatch(r"[a-z0-9-]+", value):
        raise ValueError("must be a region such as us-east-1")
    return value


def size(value: str) -> str:
    """Validate an amount of memory as DuckDB reads it, within a sensible range."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B", value, flags=re.IGNORECASE)
    scale = {"K": 10, "M": 20, "G": 30, "T": 40}
    size = float(match[1]) * 2.0 ** scale[match[2].upper()] if match else 0.0
    if not 256 * 2**20 <= size <= 2**44:
        raise ValueError("must be a size such as 4GB, from 256MB to 16TB")
    return value


def command(value: str) -> str:
    """Validate a command line that is split into words without a shell."""
    try:
        shlex.split(value)
    except ValueError:
        raise ValueError("must be a command whose quotes are closed, such as notify-send duckbook {sentence}") from None
    return value


def webhook(value: SecretStr | None) -> SecretStr | None:
    """Validate the URL of a webhook."""
    if value is None:
        return None
    try:
        url = urlsplit(value.get_secret_value())
        usable = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a URL such as https://hooks.example.com/services/…")
    return value


def model(value: str) -> str:
    """Validate the text model: ``local`` or a function of the user's own."""
    module, colon, function = value.partition(":")
    named = all(part.isidentifier() for part in (*module.split("."), function))
    if value != "local" and not (colon and named):
        raise ValueError("must be local, or MODULE:FUNCTION such as my_models.sentiment:rate")
    return value


def _is_dsn(text: str) -> bool:
    """Whether libpq can parse a connection string, and finds no part of a password elsewhere.

    An @ or / in a password that is not written %40 or %2F moves parts of it into the host, the port or the database.
    """
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn

    try:
        parts = {name: str(value) for name, value in parse_dsn(text).items()}
    except ProgrammingError:
        return False
    ports = parts.get("port", "5432").split(",")
    host_and_database = parts.get("host", "") + parts.get("dbname", "")
    ports_valid = all(port.isdecimal() and 0 < int(port) < 65536 for port in ports)
    return bool(parts) and "@" not in host_and_database and ports_valid


@dataclass(frozen=True)
class S3Endpoint:
    """An S3 server and its credentials; `url` is None for AWS."""

    url: str | None
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str | None:
        """``HOST:PORT`` as DuckDB expects it, or None for AWS."""
        return urlsplit(self.url).netloc if self.url else None

    @property
    def use_ssl(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url is None or self.url.startswith("https://")


@dataclass(frozen=True)
class Endpoints:
    """Postgres and S3 of the landing zone, and the lake's catalog. A DSN is a libpq string, password included."""

    postgres_dsn: str = field(repr=False)
    s3: S3Endpoint
    lake_dsn: str | None = field(default=None, repr=False)

    @property
    def catalog_dsn(self) -> str:
        """DSN of the lake's catalog; by default the Postgres of the landing zone."""
        return self.lake_dsn or self.postgres_dsn


ROOT = Path(__file__).resolve().parents[2]
"""The checkout: the folder that holds ``notebooks/``, ``dbt/`` and ``lib/``."""

PREFIX = "DUCKBOOK_"


class Settings(BaseSettings):
    """All settings, with their defaults. Relative paths start at the checkout."""

    # pydantic's own errors would print the input, which may be part of a secret.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    data: Path = Field(Path("data"), description="Folder with the state of one shop: servers, warehouse, publications.")
    runs: Path = Field(Path("runs"), description="Folder of the executed-run archive.")
    target: Literal["duckdb", "motherduck", "lake"] = Field("duckdb", description="Where the warehouse lives.")

    customers: int = Field(10_000, ge=200, le=1_000_000, description="Customers at the end of the history.")
    seed: int = Field(42, ge=0, lt=2**32, description="Seed of every random choice in the generated data.")
    first_as_of: date = Field(date(2026, 6, 30), description="The as-of date of the first run.")
    dirt: float = Field(0.002, ge=0, le=0.2, description="Share of generated records made dirty on purpose.")
    planted: str = Field("", description="Planted parameters that differ from the default, NAME=NUMBER NAME=NUMBER …")

    quarantine_limit: float = Field(
        0.05, ge=0, le=1, description="Share of the rows of a table or source that may be quarantined in a run."
    )
    order_items_renumbered: bool = Field(
        False, description="Whether sources renumber the items of an order whenever they land it."
    )
    order_statuses: str = Field(
        "", description="Mapping of the shop's own words for a status, WORD=STATUS, WORD=STATUS …"
    )

    postgres_dsn: SecretStr | None = Field(None, description="A Postgres of your own; empty: the embedded one.")
    postgres_schema: str = Field("ecom", description="Postgres schema of the landing tables.")

    s3_endpoint: str | None = Field(None, description="URL of an S3 server of your own, http://HOST:PORT.")
    s3_region: str | None = Field(None, description="Region; without an endpoint it means AWS.")
    s3_access_key_id: str | None = Field(None, description="Access key id; empty: boto3's own credential chain.")
    s3_secret_access_key: SecretStr | None = Field(None, description="Secret access key.")
    s3_session_token: SecretStr | None = Field(None, description="Session token of temporary credentials.")
    s3_historic_bucket: str = Field("historic-ecom", description="Bucket of the historic load and of the history.")
    s3_latest_bucket: str = Field("latest-ecom", description="Bucket of the latest days.")

    lake_dsn: SecretStr | None = Field(None, description="Postgres of the lake's catalog; empty: the landing zone's.")
    lake_schema: str = Field("lake", description="Postgres schema of the lake's catalog, and name of its data in S3.")

    motherduck_token: SecretStr | None = Field(
        None,
        description="MotherDuck token; MOTHERDUCK_TOKEN works too.",
        validation_alias=AliasChoices("DUCKBOOK_MOTHERDUCK_TOKEN", "MOTHERDUCK_TOKEN", "motherduck_token"),
    )
    motherduck_database: str = Field("duckbook", description="MotherDuck database of the warehouse.")

    bi: bool = Field(False, description="Whether every run publishes the marts to BI; if not, make bi does.")
    bi_postgres_dsn: SecretStr | None = Field(None, description="Postgres that BI reads; empty: the landing zone's.")
    bi_schema: str = Field("ecom_bi", description="Postgres schema of the marts that BI reads.")
    bi_reader: str = Field("ecom_reader", description="Postgres role that may read that schema, and nothing else.")
    s3_marts_bucket: str = Field("marts-ecom", description="Bucket of the marts that BI reads as Parquet.")
    mask_personal: bool = Field(True, description="Whether personal data are masked in published and displayed data.")

    keep_runs: int = Field(100, ge=1, description="Runs to keep in the archive when it is pruned.")
    keep_publications: int = Field(5, ge=1, description="Publications to keep, so that readers can go back.")
    on_failure: str = Field("", description="Command to run when a run fails.")
    on_failure_webhook: SecretStr | None = Field(None, description="URL to notify when a run fails.")

    memory_limit: str = Field("4GB", description="Memory of each DuckDB engine before it spills to disk.")
    threads: int | None = Field(None, ge=1, le=256, description="Threads of each DuckDB engine; empty: one per core.")

    text_model: str = Field(
        "local", description="Model that rates the sentiment of texts: local, or MODULE:FUNCTION of your own."
    )

    @field_validator("data", "runs")
    @classmethod
    def _folder_in_checkout(cls, value: Path) -> Path:
        folder = (ROOT / value.expanduser()).resolve()
        try:
            is_file = any(path.exists() and not path.is_dir() for path in (folder, *folder.parents))
        except PermissionError:
            raise ValueError("must be a folder that you may enter") from None
        if is_file:
            raise ValueError("must be a folder, not a file")
        return folder

    @field_validator("data")
    @classmethod
    def _path_without_globs(cls, value: Path) -> Path:
        if set("#?*[") & set(str(value)):
            raise ValueError(
                f"resolves to {value}, and must not contain # ? * [: dbt-duckdb or DuckDB would open another path"
            )
        return value

    _dates = field_validator("first_as_of", mode="before")(calendar_date)
    _days = field_validator("first_as_of")(as_of_date)
    _pairs = field_validator("planted")(number_pairs)
    _statuses = field_validator("order_statuses")(status_words)
    _names = field_validator("postgres_schema", "lake_schema", "motherduck_database", "bi_schema", "bi_reader")(
        plain_name
    )
    _buckets = field_validator("s3_historic_bucket", "s3_latest_bucket", "s3_marts_bucket")(bucket_name)
    _dsn = field_validator("postgres_dsn", "bi_postgres_dsn", "lake_dsn")(connection_string)
    _endpoint = field_validator("s3_endpoint")(bare_url)
    _region = field_validator("s3_region")(region)
    _size = field_validator("memory_limit")(size)
    _command = field_validator("on_failure")(command)
    _model = field_validator("text_model")(model)
    _webhook = field_validator("on_failure_webhook")(webhook)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.s3_access_key_id is None) != (self.s3_secret_access_key is None):
            raise ValueError(
                "DUCKBOOK_S3_ACCESS_KEY_ID and DUCKBOOK_S3_SECRET_ACCESS_KEY go together: set both or neither"
            )
        if self.s3_access_key_id and not (self.s3_endpoint or self.s3_region):
            raise ValueError(
                "S3 credentials are set but neither DUCKBOOK_S3_ENDPOINT nor DUCKBOOK_S3_REGION names their server"
            )
        if self.s3_historic_bucket == self.s3_latest_bucket:
            raise ValueError("DUCKBOOK_S3_HISTORIC_BUCKET and DUCKBOOK_S3_LATEST_BUCKET must differ")
        if self.s3_marts_bucket in (self.s3_historic_bucket, self.s3_latest_bucket):
            raise ValueError("DUCKBOOK_S3_MARTS_BUCKET must be a bucket of its own: BI readers can list all of it")
        if self.bi_schema == self.postgres_schema and self.bi_postgres_dsn is None:
            raise ValueError(
                "DUCKBOOK_BI_SCHEMA and DUCKBOOK_POSTGRES_SCHEMA must differ: a publication replaces the whole schema"
            )
        if self.target == "lake" and self.lake_dsn is None and self.lake_schema == self.postgres_schema:
            raise ValueError(
                "DUCKBOOK_LAKE_SCHEMA and DUCKBOOK_POSTGRES_SCHEMA must differ: the lake needs a schema of its own"
            )
        if self.target == "lake" and self.lake_schema == self.bi_schema:
            raise ValueError(
                "DUCKBOOK_LAKE_SCHEMA and DUCKBOOK_BI_SCHEMA must differ: a publication replaces the whole schema"
            )
        if self.target == "motherduck" and self.motherduck_token is None:
            raise ValueError(
                "DUCKBOOK_TARGET=motherduck needs a token: set MOTHERDUCK_TOKEN, or choose DUCKBOOK_TARGET=duckdb"
            )
        return self

    @property
    def embedded_postgres(self) -> bool:
        """Whether duckbook runs its own Postgres."""
        return self.postgres_dsn is None

    @property
    def embedded_s3(self) -> bool:
        """Whether duckbook runs its own S3 server."""
        return self.s3_endpoint is None and self.s3_region is None

    @property
    def warehouse_path(self) -> Path:
        """File of the local warehouse."""
        return self.data / "warehouse.duckdb"

    def secrets(self) -> list[str]:
        """Return the values of the secret settings, longest first."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return sorted((v.get_secret_value() for v in values if isinstance(v, SecretStr)), key=len, reverse=True)


def revealed(secret: SecretStr | None) -> str:
    """Return the value of a secret setting, or an empty text if it is not set."""
    return secret.get_secret_value() if secret else ""


def variables() -> dict[str, str]:
    """Map the name of each environment variable to its setting."""
    return {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process; they are read once.

    Raises
    ------
    SettingError
        A setting is unknown or its value is wrong.
    """
    return read_settings()


def read_settings(env_file: Path | None = ROOT / ".env") -> Settings:
    """Read and validate the settings.

    Parameters
    ----------
    env_file
        File of ``NAME=value`` lines, or None for the environment alone.

    Raises
    ------
    SettingError
        A setting is unknown or its value is wrong.
    """
    file_names = _names_in(env_file) if env_file and env_file.is_file() else []
    known = variables()
    # Set by the chain for its kernels and for the command of `on_failure`; not settings.
    internal = {f"{PREFIX}RUN_{part}" for part in ("ID", "DIR", "STEP", "LEASE", "SENTENCE", "PAGE")}
    for name in sorted({*os.environ, *file_names}):
        if name.startswith(PREFIX) and name not in known and name not in internal:
            similar = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]}?" if similar else "see .env.example for all settings."
            raise SettingError(f"{name} is not a setting: {hint}")
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        raise SettingError(_message(error)) from None


def _names_in(env_file: Path) -> list[str]:
    """Return the names that a file of ``NAME=value`` lines sets; any other line is an error, not a warning."""
    try:
        with env_file.open(encoding="utf-8") as lines:
            parsed = list(parse_stream(lines))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{env_file.name} cannot be read: {error}.") from None
    for line in parsed:
        if line.error or (line.key and line.value is None):
            where = f"{env_file.name}, line {line.original.line}"
            raise SettingError(f"{where}, is not of the form NAME=value: correct it.")
    return [line.key for line in parsed if line.key]


def _message(error: ValidationError) -> str:
    """Return the first problem as a sentence that names the setting and never shows a secret's value."""
    problem = error.errors(include_url=False)[0]
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return f"{message}."
    field = str(problem["loc"][0]).lower().removeprefix(PREFIX.lower())
    name = f"{PREFIX}{field.upper()}"
    # The part before an @ in a URL may be a password.
    secret = "SecretStr" in str(Settings.model_fields[field].annotation) or "@" in str(problem["input"])
    shown = "" if secret else f"={problem['input']}"
    return f"{name}{shown} is wrong: {message}. Set it in the environment or in .env; .env.example documents it."
