"""MotherDuck: checks before a run, and connections.

Only documented features are used: a token in the connection's configuration, ``create database``, schemas, ``create or
replace table`` in a transaction, and attaching a database to a local DuckDB. S3 and Postgres that only this machine can
reach are read by this process, with temporary secrets that never leave it. Nothing here was ever tried with an account.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook.backends import connections
from duckbook.errors import ServerError, WarehouseError, first_line
from duckbook.settings import Settings, revealed

if TYPE_CHECKING:
    import duckdb

VERSIONS = ((1, 4, 0), (1, 5, 6))
"""The first and last version of DuckDB that MotherDuck supports."""

HOST, PORT = "api.motherduck.com", 443

TAKEN_NAMES = {"main", "memory", "system", "temp", "lake", "warehouse", "md_information_schema"}
"""Names that mean another database in a session, and so cannot be the warehouse's."""


def check(settings: Settings, extensions: Path) -> None:
    """Check in about a second that MotherDuck can be used, without sending the token.

    Parameters
    ----------
    extensions
        Folder of DuckDB's extensions.

    Raises
    ------
    WarehouseError
        A check failed. The message does not contain the token.
    """
    check_token(revealed(settings.motherduck_token))
    check_version()
    if settings.motherduck_database in TAKEN_NAMES:
        raise WarehouseError(
            f"DUCKBOOK_MOTHERDUCK_DATABASE={settings.motherduck_database} is a name that DuckDB itself uses: "
            "choose another one, such as duckbook."
        )
    try:
        connections.check_reachable(HOST, PORT, "MotherDuck's address")
    except ServerError as error:
        reason = str(error).removeprefix("MotherDuck's address names ").split(": correct it")[0]
        raise WarehouseError(
            f"MotherDuck cannot be reached: {reason}. Check that this machine reaches the Internet and that no "
            "firewall is in between, or choose TARGET=duckdb."
        ) from None
    check_extension(extensions)


def check_token(token: str, now: float | None = None) -> None:
    """Check that a token is a JSON web token, as MotherDuck's are, and has not expired.

    Parameters
    ----------
    now
        Time to compare the expiry with, in seconds since 1970; None: the clock's.

    Raises
    ------
    WarehouseError
        It is malformed or has expired.
    """
    remedy = "create one on app.motherduck.com, Settings, Access Tokens, and set MOTHERDUCK_TOKEN to it"
    try:
        head, payload, signature = token.split(".")
        claims = _decoded(payload)
        valid = isinstance(_decoded(head), dict) and isinstance(claims, dict) and bool(signature)
    except ValueError:
        valid = False
    if not valid:
        raise WarehouseError(f"The MotherDuck token is malformed (not a JSON web token; truncated?): {remedy}.")
    expires = claims.get("exp")
    if isinstance(expires, (int, float)) and expires < (time.time() if now is None else now):
        raise WarehouseError(
            f"The MotherDuck token expired on {time.strftime('%Y-%m-%d', time.gmtime(expires))}: {remedy}."
        )


def _decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def check_version(version: str | None = None) -> None:
    """Check that MotherDuck supports a version of DuckDB; None: the installed one.

    Raises
    ------
    WarehouseError
        It is not supported.
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
    """Check that DuckDB's extension `motherduck` is in a folder, without loading it.

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
    """Connect to MotherDuck, and create the database of the warehouse if it is missing.

    Parameters
    ----------
    config
        Configuration of the engine; the token is added to it, and kept nowhere else.

    Raises
    ------
    WarehouseError
        MotherDuck cannot be reached, or does not accept the connection.
    """
    import duckdb

    token, database = revealed(settings.motherduck_token), settings.motherduck_database
    try:
        connection = duckdb.connect("md:", config={**config, "motherduck_token": token})
        connection.execute(f"create database if not exists {database}")
    except duckdb.Error as error:
        raise WarehouseError(
            f"MotherDuck database {database} cannot be opened: {without_token(error, token)}."
        ) from None
    return connection


def attach_database(connection: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Attach the database of the warehouse to a local connection, read-only; return its name."""
    database = settings.motherduck_database
    connection.execute("load motherduck")
    connection.execute("set motherduck_token = ?", [revealed(settings.motherduck_token)])
    connection.execute(f"attach 'md:{database}' as {database} (read_only)")
    return database


def without_token(error: Exception, token: str) -> str:
    """Return the first line of an error, without the token."""
    return first_line(str(error).replace(token, "***"))
