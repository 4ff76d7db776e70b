"""Signing in to Postgres and S3, the embedded ones and a person's own alike: what refuses is told in a sentence.

The sentence names the setting and never shows a secret. Servers that cannot be reached are told by a bare
connection first, so that a wrong address costs a second at most.
"""

from __future__ import annotations

import contextlib
import socket
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

from duckbook.errors import ServerError, first_line
from duckbook.redaction import Redactor
from duckbook.settings import S3Endpoint, Settings

REACH_SECONDS = 0.8
QUICK_SECONDS = 2
"""How long a server may think in a check before any work; libpq counts in whole seconds, from two."""
ANSWER_SECONDS = 10

DEFAULT_REGION = "us-east-1"
"""What S3 servers other than AWS take when they do not care."""


def reach(host: str, port: int, setting: str) -> None:
    """Connect once and hang up.

    Raises
    ------
    ServerError
        Nothing answers there.
    """
    try:
        socket.create_connection((host, port), timeout=REACH_SECONDS).close()
    except socket.gaierror:
        raise ServerError(f"{setting} names the host {host}, which no name server knows: correct it.") from None
    except OSError as error:
        why = "does not answer" if isinstance(error, TimeoutError) else f"cannot be reached ({error.strerror})"
        raise ServerError(f"{setting} names {host}:{port}, which {why}: correct it, or start that server.") from None


def postgres_address(dsn: str) -> tuple[str, int] | None:
    """Host and port of a DSN that names one host, else None (a socket, a service, several hosts)."""
    from psycopg2.extensions import parse_dsn

    parts = parse_dsn(dsn)
    host, port = str(parts.get("hostaddr") or parts.get("host") or ""), str(parts.get("port") or "5432")
    return (host, int(port)) if host and not host.startswith(("/", "@")) and "," not in host + port else None


@contextmanager
def postgres(dsn: str, setting: str = "DUCKBOOK_POSTGRES_DSN", seconds: int = ANSWER_SECONDS):
    """A Postgres connection in autocommit, closed at the end.

    Parameters
    ----------
    setting
        What a refusal names.
    seconds
        How long signing in may take.

    Raises
    ------
    ServerError
        It does not let us in.
    """
    import psycopg2

    from duckbook.backends import postgres_connection

    try:
        connection = postgres_connection.connect(dsn, connect_timeout=seconds)
    except psycopg2.OperationalError as error:
        raise ServerError(_postgres_refusal(str(error), dsn, setting)) from None
    with contextlib.closing(connection):
        yield connection


def _postgres_refusal(text: str, dsn: str, setting: str) -> str:
    from psycopg2.extensions import parse_dsn

    password = parse_dsn(dsn).get("password")
    text = Redactor([str(password or "")]).text(text)
    why = first_line(text.rsplit("FATAL:", 1)[-1])
    remedies = {
        "password": "set the right user and password in it",
        "does not exist": "name one that exists, or create it",
        "pg_hba.conf": "let this machine in on the server, or connect from one that is",
        "SSL": "add or correct sslmode in it",
        "too many": "close other connections and try again",
        "timeout": "see whether that server is up",
    }
    remedy = next(
        (told for sign, told in remedies.items() if sign in why), "correct it, or see whether that server is up"
    )
    return f"Postgres refuses {setting}: {why}. To go on, {remedy}."


def check_schema(
    dsn: str, schema: str, setting: str = "DUCKBOOK_POSTGRES_DSN", named_by: str = "DUCKBOOK_POSTGRES_SCHEMA"
) -> None:
    """See that a schema can be used, or made; a refusal names the two settings.

    Raises
    ------
    ServerError
        Postgres does not let us in, or not into the schema.
    """
    with postgres(dsn, setting, QUICK_SECONDS) as connection:
        usable, creatable = connection.execute(
            "select (select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = %s),"
            " has_database_privilege(current_database(), 'create')",
            [schema],
        ).fetchone()
        if usable is None and not creatable:
            problem = f"it does not exist and user {connection.info.user} may not create it"
        elif usable is False:
            problem = f"user {connection.info.user} may not use it"
        else:
            return
    raise ServerError(f"{named_by}={schema} is of no use: {problem}. Grant that in Postgres, or name another schema.")


def ensure_schema(dsn: str, schema: str, setting: str = "DUCKBOOK_POSTGRES_DSN") -> None:
    """Make the landing schema where it is missing.

    Raises
    ------
    ServerError
        Postgres does not let us in, or does not let us make it.
    """
    import psycopg2.errors
    from psycopg2 import sql

    with postgres(dsn, setting) as connection:
        # Asked first, because `create schema if not exists` wants the right to create even where it exists.
        if connection.execute("select 1 from pg_namespace where nspname = %s", [schema]).fetchone():
            return
        try:
            connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        except psycopg2.errors.UniqueViolation:
            pass  # Another process made it at the same moment.
        except psycopg2.errors.InsufficientPrivilege:
            raise ServerError(
                f"DUCKBOOK_POSTGRES_SCHEMA={schema} does not exist and user {connection.info.user} may not create it: "
                "grant that in Postgres, or name another schema."
            ) from None


def s3_endpoint(settings: Settings) -> S3Endpoint:
    """The person's own S3, with credentials from the settings or else from boto3's chain.

    Raises
    ------
    ServerError
        There are no credentials.
    """
    region, key = settings.s3_region, settings.s3_access_key_id
    if key:
        secret, token = settings.s3_secret_access_key, settings.s3_session_token
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
        found = credentials.get_frozen_credentials() if credentials else None
    except BotoCoreError as error:
        raise ServerError(f"The AWS credentials of this machine cannot be read: {error}. Correct them there.") from None
    if found is None or not found.access_key:
        raise ServerError(
            "There are no S3 credentials: set DUCKBOOK_S3_ACCESS_KEY_ID and DUCKBOOK_S3_SECRET_ACCESS_KEY, "
            "or AWS's own variables, profile or role."
        )
    return S3Endpoint(
        settings.s3_endpoint,
        region or session.region_name or DEFAULT_REGION,
        found.access_key,
        found.secret_key,
        found.token,
    )


def reach_s3(settings: Settings) -> None:
    """Connect once to the S3 server that the settings name.

    Raises
    ------
    ServerError
        Nothing answers there.
    """
    setting = "DUCKBOOK_S3_ENDPOINT" if settings.s3_endpoint else "DUCKBOOK_S3_REGION"
    url = urlsplit(settings.s3_endpoint or f"https://s3.{settings.s3_region}.amazonaws.com")
    behind_proxy = url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(url.hostname)
    if not behind_proxy:
        reach(url.hostname, url.port or (443 if url.scheme == "https" else 80), setting)


def s3_refusal(code: str, text: str, bucket: str, setting: str) -> str:
    """A sentence for what an S3 server answers; `setting` is the bucket's."""
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
        "BucketAlreadyExists": "it belongs to somebody else: name another bucket",
        "RequestTimeTooSkewed": "the clock of this machine is wrong: set it",
    }
    remedy = remedies.get(code, "see whether DUCKBOOK_S3_ENDPOINT is an S3 server")
    return f"S3 refuses {setting}={bucket} ({code or text}): {remedy}."
