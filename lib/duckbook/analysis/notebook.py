"""Notebook session: set up, connect, check, report, finish.

A notebook starts with ``book = notebook.start()`` and ends with ``book.finish()``. In between it queries with ``%%sql``
cells on the connection opened by `Notebook.connect`, states its checks with `Notebook.check`, and writes facts to the
run's archive with `Notebook.report`. In JupyterLab, outside the chain, there is no archive and reports are discarded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from duckbook.analysis import table_style
from duckbook.analysis.value_style import plain
from duckbook.backends import servers, warehouse
from duckbook.errors import CheckFailed, DuckbookError
from duckbook.files import write_private
from duckbook.publish import publisher
from duckbook.redaction import Redactor, secrets_of
from duckbook.settings import Settings, settings

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from duckbook.settings import Endpoints

RUN_DIR, RUN_STEP = "DUCKBOOK_RUN_DIR", "DUCKBOOK_RUN_STEP"
"""Environment variables by which the chain passes the folder of the run and the step to a kernel."""

SQL_MAGIC = {
    "autopandas": True,
    "displaycon": False,
    "feedback": 0,
    # A colon in SQL is a cast or a slice here, never a bind parameter.
    "named_parameters": "disabled",
    "short_errors": True,
}

Connectable = Literal["landing", "warehouse", "published"]


@dataclass(frozen=True)
class Check:
    """A condition that must hold at the end of a notebook."""

    name: str
    expected: Any
    found: Any
    passed: bool


@dataclass
class Notebook:
    """Session of one notebook: its settings, connections, checks and reports."""

    settings: Settings
    shell: Any = None
    run_dir: Path | None = None
    checks: list[Check] = field(default_factory=list)
    _open: dict[str, duckdb.DuckDBPyConnection] = field(default_factory=dict)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Postgres and the object storage; embedded servers are started if they do not run."""
        return servers.up(self.settings)

    def connect(self, to: Connectable) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB connection for ``%sql``.

        Parameters
        ----------
        to
            ``landing``: an in-memory engine that reads the landing zone; ``warehouse``: the warehouse, read-only;
            ``published``: the published marts, without a lock.

        Raises
        ------
        WarehouseError
            There is no warehouse yet; the message names the notebook to run first.
        PublishError
            Nothing has been published yet.
        """
        self.release(to)
        connection = self._connection(to)
        self._open[to] = connection
        if self.shell is not None:
            from sql.connection import ConnectionManager

            ConnectionManager.set(connection, displaycon=False, alias=to, config=_sql_magic(self.shell))
        return connection

    def _connection(self, to: Connectable) -> duckdb.DuckDBPyConnection:
        if to == "published":
            return publisher.published(self.settings).connection

        if to == "warehouse":
            return warehouse.open_warehouse(self.settings, read_only=True)
        if to != "landing":
            raise DuckbookError(f"connect({to!r}) is unknown: use 'landing', 'warehouse' or 'published'.")
        connection = warehouse.engine(self.settings)
        warehouse.use_landing(connection, self.endpoints)
        return connection

    def release(self, *names: str) -> None:
        """Close the named connections, or all, so that another process can write to the warehouse."""
        for name in names or tuple(self._open):
            connection = self._open.pop(name, None)
            if connection is None:
                continue
            if self.shell is not None:
                from sql.connection import ConnectionManager

                registered = ConnectionManager.connections.pop(name, None)
                if registered is not None and ConnectionManager.current is registered:
                    ConnectionManager.current = None
            connection.close()

    def check(self, name: str, *, expected: Any, found: Any, passed: bool | None = None) -> None:
        """Record a check; `finish` shows all checks and fails the notebook if one failed.

        Parameters
        ----------
        name
            What must hold, in words.
        expected, found
            Values to show, and to compare unless `passed` is given.
        passed
            The verdict if it is not equality, such as ``found <= 5`` with expected "at most 5".
        """
        verdict = bool(expected == found) if passed is None else bool(passed)
        self.checks.append(Check(name, expected, found, verdict))

    def report(self, name: str, rows: Iterable[dict] | pd.DataFrame | dict) -> None:
        """Write facts to the run's archive, as ``facts/STEP/NAME.json`` in the folder of the run.

        Parameters
        ----------
        name
            ``tables``, ``reconciliation``, ``tests`` or another lower-case name.
        rows
            Records, or a frame of them. Money becomes a JSON number, dates become ISO text.

        Raises
        ------
        DuckbookError
            The name is invalid, or the report contains a secret. Nothing is written.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise DuckbookError(f"A report's name may have lower-case letters, digits and underscores only: {name!r}.")
        if hasattr(rows, "to_dict"):
            rows = rows.to_dict("records")
        text = json.dumps(rows if isinstance(rows, dict) else list(rows), default=_as_json, indent=1)
        if self.run_dir is not None:
            self._refuse_secrets(name, text)
            folder = self.run_dir / "facts" / os.environ.get(RUN_STEP, "")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(folder / f"{name}.json", text)

    def _refuse_secrets(self, name: str, text: str) -> None:
        secrets = secrets_of(self.settings, self.__dict__.get("endpoints")) if self.settings else []
        redactor = Redactor(secrets)
        redactor.text(text)
        if redactor.hits:
            raise DuckbookError(f"The report {name!r} contains a secret (***) and was not written: remove the secret.")

    def finish(self) -> None:
        """Close the connections and show the checks.

        Raises
        ------
        CheckFailed
            A check failed; the message names each failed check with the expected and found values.
        """
        self.release()
        if self.checks:
            self._show_checks()
        failed = [check for check in self.checks if not check.passed]
        if failed:
            details = "; ".join(f"{c.name}: expected {plain(c.expected)}, found {plain(c.found)}" for c in failed)
            raise CheckFailed(f"{len(failed)} of {len(self.checks)} checks failed: {details}.")

    def _show_checks(self) -> None:
        import pandas as pd
        from IPython.display import display

        rows = [
            {
                "check": check.name,
                "expected": plain(check.expected),
                "found": plain(check.found),
                "verdict": "passed" if check.passed else "FAILED",
            }
            for check in self.checks
        ]
        display(table_style.table(pd.DataFrame(rows)))


def start() -> Notebook:
    """Set up a notebook: settings, ``%sql``, error messages and table style.

    Returns
    -------
    Notebook
        Servers start on first use of `Notebook.endpoints`, so a notebook over published marts starts none.

    Raises
    ------
    SettingError
        A setting is unknown or invalid; the message names it.
    """
    # Files of the notebook and its servers are private to their owner in any folder.
    os.umask(0o077)
    chosen = settings()
    run_dir = os.environ.get(RUN_DIR)
    book = Notebook(chosen, shell=_shell(), run_dir=Path(run_dir) if run_dir else None)
    if book.shell is not None:
        _load_sql(book.shell)
        _show_errors_without_traceback(book.shell)
        _register_table_style(book.shell)
    return book


def _shell() -> Any:
    """The IPython shell of this process, or None."""
    import sys

    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _load_sql(shell: Any) -> None:
    """Load jupysql with our configuration in place of the user's ``~/.jupysql``, without its notices."""
    from IPython.utils.capture import capture_output

    if "SqlMagic" not in shell.magics_manager.registry:
        with capture_output():
            shell.run_line_magic("load_ext", "sql")
    magic = _sql_magic(shell)
    for option, value in SQL_MAGIC.items():
        setattr(magic, option, value)


def _sql_magic(shell: Any) -> Any:
    return shell.magics_manager.registry["SqlMagic"]


def _show_errors_without_traceback(shell: Any) -> None:
    """Show only the message of duckbook errors: a traceback into the library does not help readers of a notebook."""

    def show(shell, kind, error, _traceback, tb_offset=None):
        shell._showtraceback(kind, error, [f"{kind.__name__}: {error}"])

    shell.set_custom_exc((DuckbookError,), show)


def _register_table_style(shell: Any) -> None:
    import pandas as pd

    pd.set_option("display.max_rows", 60)
    table_style.register(shell)


def _as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return str(value)
