"""MotherDuck: how it is opened, and what is checked before that.

What can only be tried with a token stands here, apart from everything else. It uses what MotherDuck documents: a token
in the connection's configuration, ``create database``, schemas, ``create or replace table`` within a transaction, and
attaching a database from a local DuckDB. S3 and Postgres that only this machine reaches are read by this process, whose
secrets are temporary and so never leave it.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from duckbook.backends import connections
from duckbook.errors import ServerError, WarehouseError, first_line
from duckbook.settings import Settings

if TYPE_CHECKING:
    import duckdb

VERSIONS = ((1, 4, 0), (1, 5, 6))
"""The first and the last version of DuckDB that MotherDuck lets in."""

HOST, PORT = "api.motherduck.com", 443

TAKEN_NAMES = {"main", "memory", "system", "temp", "lake", "warehouse", "md_information_schema"}
"""Names that mean another database in a session of ours, and so cannot be the warehouse's."""


def check(settings: Settings, extensions: Path) -> None:
    """See in about a second that MotherDuck can be asked at all; the token is not sent anywhere.

    Parameters
    ----------
    extensions
        The folder of DuckDB's extensions.

    Raises
    ------
    WarehouseError
        Something is amiss; each thing has a sentence of its own, and none of them holds the token.
    """
    check_token(settings.motherduck_token.get_secret_value())
    check_version()
    if settings.motherduck_database in TAKEN_NAMES:
        raise WarehouseError(
            f"DUCKBOOK_MOTHERDUCK_DATABASE={settings.motherduck_database} is a name that DuckDB itself uses: "
            "take another one, such as duckbook."
        )
    try:
        connections.reach(HOST, PORT, "MotherDuck's address")
    except ServerError as error:
        reason = str(error).removeprefix("MotherDuck's address names ").split(": correct it")[0]
        raise WarehouseError(
            f"MotherDuck is not to be reached: {reason}. See whether this machine reaches the Internet and whether a "
            "firewall lets it through, or take TARGET=duckdb."
        ) from None
    check_extension(extensions)


def check_token(token: str, now: float | None = None) -> None:
    """See that a token is a JSON web token, as MotherDuck's are, and has not expired.

    Parameters
    ----------
    now
        The time to hold its expiry against, seconds since 1970; None: the clock's.

    Raises
    ------
    WarehouseError
        It is malformed or has expired.
    """
    remedy = "make one on app.motherduck.com, Settings, Access Tokens, and set MOTHERDUCK_TOKEN to it"
    try:
        head, payload, signature = token.split(".")
        claims = _decoded(payload)
        whole = isinstance(_decoded(head), dict) and isinstance(claims, dict) and bool(signature)
    except ValueError:
        whole = False
    if not whole:
        raise WarehouseError(f"The MotherDuck token is malformed (it is no JSON web token; cut off?): {remedy}.")
    expires = claims.get("exp")
    if isinstance(expires, (int, float)) and expires < (time.time() if now is None else now):
        raise WarehouseError(
            f"The MotherDuck token expired on {time.strftime('%Y-%m-%d', time.gmtime(expires))}: {remedy}."
        )


def _decoded(part: str) -> object:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def check_version(version: str | None = None) -> None:
    """See that MotherDuck lets a version of DuckDB in; None: the one that is installed.

    Raises
    ------
    WarehouseError
        It does not.
    """
    import duckdb

    version = version or duckdb.__version__
    first, last = (".".join(map(str, bound)) for bound in VERSIONS)
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if not VERSIONS[0] <= numbers <= VERSIONS[1]:
        raise WarehouseError(
            f"DuckDB {version} is installed, and MotherDuck accepts {first} to {last}: "
            "`make setup` installs the version of requirements.lock."
        )


def check_extension(extensions: Path) -> None:
    """See that DuckDB finds its extension `motherduck` in a folder, without loading it.

    Raises
    ------
    WarehouseError
        It is not installed.
    """
    import duckdb

    if not any(extensions.glob(f"v{duckdb.__version__}/*/motherduck.duckdb_extension")):
        raise WarehouseError(
            f"DuckDB's extension motherduck for {duckdb.__version__} is not installed: "
            "`make setup` installs it from requirements.lock."
        )


def open_database(settings: Settings, config: dict[str, str]) -> duckdb.DuckDBPyConnection:
    """Open a connection on which the database of the warehouse is, made where it is missing.

    Parameters
    ----------
    config
        The configuration of the engine; the token is added to it, and stands nowhere else.

    Raises
    ------
    WarehouseError
        MotherDuck refuses, or is not reached.
    """
    import duckdb

    token, database = settings.motherduck_token.get_secret_value(), settings.motherduck_database
    try:
        connection = duckdb.connect("md:", config=config | {"motherduck_token": token})
        connection.execute(f"create database if not exists {database}")
    except duckdb.Error as error:
        raise WarehouseError(
            f"MotherDuck database {database} cannot be opened: {without_token(error, token)}."
        ) from None
    return connection


def attach_database(connection: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Attach the database of the warehouse to a local connection, read-only; its name."""
    database = settings.motherduck_database
    connection.execute("load motherduck")
    connection.execute("set motherduck_token = ?", [settings.motherduck_token.get_secret_value()])
    connection.execute(f"attach 'md:{database}' as {database} (read_only)")
    return database


def without_token(error: Exception, token: str) -> str:
    """The first line of an error, without the token."""
    return first_line(str(error).replace(token, "***"))
