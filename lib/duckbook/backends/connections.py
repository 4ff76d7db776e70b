"""Connections to Postgres and S3, embedded or your own, with errors that name the setting and show no secret.

Addresses are first checked with a bare TCP connection, so that a wrong one fails within a second.
"""

from __future__ import annotations

import contextlib
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from duckbook.errors import ServerError, first_line
from duckbook.redaction import Redactor
from duckbook.settings import S3Endpoint, Settings

if TYPE_CHECKING:
    from duckbook.backends.postgres_connection import Connection

REACH_SECONDS = 0.8
QUICK_SECONDS = 2
"""Timeout of the checks before a run. libpq counts in whole seconds, from two."""
ANSWER_SECONDS = 10

DEFAULT_REGION = "us-east-1"
"""Region for S3 servers other than AWS, most of which ignore it."""


def check_reachable(host: str, port: int, setting: str) -> None:
    """Open a TCP connection and close it.

    Raises
    ------
    ServerError
        No server answers.
    """
    try:
        socket.create_connection((host, port), timeout=REACH_SECONDS).close()
    except socket.gaierror:
        raise ServerError(f"{setting} names the host {host}, which no name server knows: correct it.") from None
    except OSError as error:
        why = "does not answer" if isinstance(error, TimeoutError) else f"cannot be reached ({error.strerror})"
        raise ServerError(f"{setting} names {host}:{port}, which {why}: correct it, or start that server.") from None


def postgres_address(dsn: str) -> tuple[str, int] | None:
    """Return host and port of a DSN that names one host, else None (a socket, a service, several hosts)."""
    from psycopg2.extensions import parse_dsn

    parts = parse_dsn(dsn)
    host, port = str(parts.get("hostaddr") or parts.get("host") or ""), str(parts.get("port") or "5432")
    return (host, int(port)) if host and not host.startswith(("/", "@")) and "," not in host + port else None


@contextmanager
def postgres(dsn: str, setting: str = "DUCKBOOK_POSTGRES_DSN", seconds: int = ANSWER_SECONDS) -> Iterator[Connection]:
    """Open a Postgres connection in autocommit for the block.

    Parameters
    ----------
    setting
        Name of the DSN's setting, for the error message.
    seconds
        Connection timeout.

    Raises
    ------
    ServerError
        Postgres does not accept the connection.
    """
    import psycopg2

    from duckbook.backends import postgres_connection

    try:
        connection = postgres_connection.connect(dsn, connect_timeout=seconds)
    except psycopg2.OperationalError as error:
        raise ServerError(_postgres_error(str(error), dsn, setting)) from None
    with contextlib.closing(connection):
        yield connection


def _postgres_error(text: str, dsn: str, setting: str) -> str:
    from psycopg2.extensions import parse_dsn

    password = parse_dsn(dsn).get("password")
    text = Redactor([str(password or "")]).text(text)
    problem = first_line(text.rsplit("FATAL:", 1)[-1])
    remedies = {
        "password": "set the right user and password in it",
        "does not exist": "name one that exists, or create it",
        "pg_hba.conf": "allow this machine on the server, or connect from one that is allowed",
        "SSL": "add or correct sslmode in it",
        "too many": "close other connections and try again",
        "timeout": "check that the server is up",
    }
    default = "correct it, or check that the server is up"
    remedy = next((text for keyword, text in remedies.items() if keyword in problem), default)
    return f"Postgres refuses {setting}: {problem}. To go on, {remedy}."


def check_schema(
    dsn: str, schema: str, setting: str = "DUCKBOOK_POSTGRES_DSN", schema_setting: str = "DUCKBOOK_POSTGRES_SCHEMA"
) -> None:
    """Check that a schema can be used or created.

    Raises
    ------
    ServerError
        Postgres does not accept the connection, or does not allow the schema.
    """
    with postgres(dsn, setting, QUICK_SECONDS) as connection:
        [(usable, creatable)] = connection.execute(
            "select (select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = %s),"
            " has_database_privilege(current_database(), 'create')",
            [schema],
        ).fetchall()
        if usable is None and not creatable:
            problem = f"it does not exist and user {connection.info.user} may not create it"
        elif usable is False:
            problem = f"user {connection.info.user} may not use it"
        else:
            return
    raise ServerError(
        f"{schema_setting}={schema} cannot be used: {problem}. Grant that in Postgres, or name another schema."
    )


def ensure_schema(dsn: str, schema: str, setting: str = "DUCKBOOK_POSTGRES_DSN") -> None:
    """Create the landing schema if it is missing.

    Raises
    ------
    ServerError
        Postgres does not accept the connection, or does not allow the schema.
    """
    import psycopg2.errors
    from psycopg2 import sql

    with postgres(dsn, setting) as connection:
        # `create schema if not exists` needs the right to create even if the schema exists.
        if connection.execute("select 1 from pg_namespace where nspname = %s", [schema]).fetchone():
            return
        try:
            connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        except psycopg2.errors.UniqueViolation:
            pass  # Another process created it at the same moment.
        except psycopg2.errors.InsufficientPrivilege:
            raise ServerError(
                f"DUCKBOOK_POSTGRES_SCHEMA={schema} does not exist and user {connection.info.user} may not create it: "
                "grant that in Postgres, or name another schema."
            ) from None


def s3_endpoint(settings: Settings) -> S3Endpoint:
    """Return your own S3 server, with credentials from the settings or from boto3's credential chain.

    Raises
    ------
    ServerError
        There are no credentials.
    """
    region, key = settings.s3_region, settings.s3_access_key_id
    secret, token = settings.s3_secret_access_key, settings.s3_session_token
    if key and secret is not None:
        return S3Endpoint(
            settings.s3_endpoint,
            region or DEFAULT_REGION,
            key,
            secret.get_secret_value(),
            token.get_secret_value() if token else None,
        )
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session()
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials else None
    except BotoCoreError as error:
        raise ServerError(f"The AWS credentials of this machine cannot be read: {error}. Correct them there.") from None
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise ServerError(
            "There are no S3 credentials: set DUCKBOOK_S3_ACCESS_KEY_ID and DUCKBOOK_S3_SECRET_ACCESS_KEY, "
            "or AWS's own variables, profile or role."
        )
    return S3Endpoint(
        settings.s3_endpoint,
        region or session.region_name or DEFAULT_REGION,
        frozen.access_key,
        frozen.secret_key,
        frozen.token,
    )


def check_s3_reachable(settings: Settings) -> None:
    """Open a TCP connection to the S3 server of the settings, unless a proxy is in between.

    Raises
    ------
    ServerError
        No server answers.
    """
    setting = "DUCKBOOK_S3_ENDPOINT" if settings.s3_endpoint else "DUCKBOOK_S3_REGION"
    url = urlsplit(settings.s3_endpoint or f"https://s3.{settings.s3_region}.amazonaws.com")
    host = url.hostname or ""
    behind_proxy = url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
    if not behind_proxy:
        check_reachable(host, url.port or (443 if url.scheme == "https" else 80), setting)


def s3_error_message(code: str, text: str, bucket: str, setting: str) -> str:
    """Turn an S3 error into a sentence; `setting` is the bucket's."""
    remedies = {
        "InvalidAccessKeyId": "DUCKBOOK_S3_ACCESS_KEY_ID is not known to it: set the right one",
        "SignatureDoesNotMatch": "DUCKBOOK_S3_SECRET_ACCESS_KEY does not belong to the key id: set the right one",
        "ExpiredToken": "DUCKBOOK_S3_SESSION_TOKEN has expired: get a new one",
        "InvalidToken": "DUCKBOOK_S3_SESSION_TOKEN is wrong: set the right one",
        "AuthorizationHeaderMalformed": "DUCKBOOK_S3_REGION is not the bucket's: set the right one",
        "PermanentRedirect": "DUCKBOOK_S3_REGION is not the bucket's: set the right one",
        "IllegalLocationConstraintException": "DUCKBOOK_S3_REGION is not the server's: set the right one",
        "AccessDenied": "these credentials may not use it: grant that, or name another bucket",
        "Forbidden": "these credentials may not use it: grant that, or name another bucket",
        "BucketAlreadyExists": "it belongs to another account: name another bucket",
        "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    }
    remedy = remedies.get(code, "check that DUCKBOOK_S3_ENDPOINT is an S3 server")
    return f"S3 refuses {setting}={bucket} ({code or text}): {remedy}."
