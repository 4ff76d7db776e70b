"""What every notebook does the same way: set up, connect, check, report, finish.

A notebook starts with ``book = notebook.start()`` and ends with ``book.finish()``. Between them it reads with
``%%sql`` cells on the connection that `Notebook.connect` opened, says what must hold with `Notebook.check`, and
hands facts to the run's archive with `Notebook.report`. It does the same in JupyterLab as in the chain; outside
the chain there is no archive, and reports go nowhere.
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

from duckbook.errors import CheckFailed, DuckbookError
from duckbook.files import write_private
from duckbook.settings import Settings, settings

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from duckbook.settings import Endpoints

RUN_DIR, RUN_STEP = "DUCKBOOK_RUN_DIR", "DUCKBOOK_RUN_STEP"
"""Environment variable by which the chain tells a kernel the folder of the run."""

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
    """Something that must hold at the end of a notebook."""

    name: str
    expected: Any
    found: Any
    passed: bool


@dataclass
class Notebook:
    """The set-up of one notebook: its settings, connections, checks and reports."""

    settings: Settings
    shell: Any = None
    run_dir: Path | None = None
    checks: list[Check] = field(default_factory=list)
    _open: dict[str, duckdb.DuckDBPyConnection] = field(default_factory=dict)

    @cached_property
    def endpoints(self) -> Endpoints:
        """Postgres and the object store, started when they are the embedded ones and do not run."""
        from duckbook.backends import servers

        return servers.up(self.settings)

    def connect(self, to: Connectable) -> duckdb.DuckDBPyConnection:
        """Open a DuckDB connection and make it the one that ``%sql`` uses.

        Parameters
        ----------
        to
            ``landing``: an engine in memory that reads the landing zone; ``warehouse``: the warehouse,
            read-only; ``published``: the published marts, which takes no lock.

        Raises
        ------
        WarehouseError
            There is no warehouse yet; the sentence names the notebook to run first.
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
            from duckbook.publish.publisher import published

            return published(self.settings).connection

        from duckbook.backends import warehouse

        if to == "warehouse":
            return warehouse.open_warehouse(self.settings, read_only=True)
        if to != "landing":
            raise DuckbookError(f"connect({to!r}) is unknown: say 'landing', 'warehouse' or 'published'.")
        connection = warehouse.engine(self.settings)
        warehouse.use_landing(connection, self.endpoints)
        return connection

    def release(self, *names: str) -> None:
        """Close the connections named, or all of them, so that another process may write to the warehouse."""
        for name in names or tuple(self._open):
            connection = self._open.pop(name, None)
            if connection is None:
                continue
            if self.shell is not None:
                from sql.connection import ConnectionManager

                known = ConnectionManager.connections.pop(name, None)
                if known is not None and ConnectionManager.current is known:
                    ConnectionManager.current = None
            connection.close()

    def check(self, name: str, *, expected: Any, found: Any, passed: bool | None = None) -> None:
        """Note something that must hold; `finish` shows it and fails the notebook when it does not.

        Parameters
        ----------
        name
            What must hold, in words.
        expected, found
            The two values that are shown, and compared unless `passed` is given.
        passed
            The verdict where it is not equality, such as ``found <= 5`` with expected "at most 5".
        """
        verdict = bool(expected == found) if passed is None else bool(passed)
        self.checks.append(Check(name, expected, found, verdict))

    def report(self, name: str, rows: Iterable[dict] | pd.DataFrame | dict) -> None:
        """Hand facts to the run's archive, as ``facts/STEP/NAME.json`` in the folder of the run.

        Parameters
        ----------
        name
            ``tables``, ``reconciliation``, ``tests`` and others; a lower-case name.
        rows
            Records, or a frame of them. Money arrives as a JSON number, dates as ISO text.

        Raises
        ------
        DuckbookError
            A secret is in it; nothing is written then.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise DuckbookError(f"A report is named in lower-case letters, digits and underscores, not {name!r}.")
        if hasattr(rows, "to_dict"):
            rows = rows.to_dict("records")
        text = json.dumps(rows if isinstance(rows, dict) else list(rows), default=_as_json, indent=1)
        if self.run_dir is not None:
            self._refuse_secrets(name, text)
            folder = self.run_dir / "facts" / os.environ.get(RUN_STEP, "")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(folder / f"{name}.json", text)

    def _refuse_secrets(self, name: str, text: str) -> None:
        from duckbook.redaction import Redactor, secrets_of

        known = secrets_of(self.settings, self.__dict__.get("endpoints")) if self.settings else []
        redactor = Redactor(known)
        redactor.text(text)
        if redactor.hits:
            raise DuckbookError(f"The report {name!r} holds a secret (***), so it was not written: leave it out.")

    def finish(self) -> None:
        """Close the connections and show the checks.

        Raises
        ------
        CheckFailed
            A check did not hold; the sentence names each with what was expected and found.
        """
        self.release()
        if self.checks:
            self._show_checks()
        failed = [check for check in self.checks if not check.passed]
        if failed:
            from duckbook.analysis.value_style import plain

            told = "; ".join(f"{c.name}: expected {plain(c.expected)}, found {plain(c.found)}" for c in failed)
            raise CheckFailed(f"{len(failed)} of {len(self.checks)} checks failed: {told}.")

    def _show_checks(self) -> None:
        import pandas as pd
        from IPython.display import display

        from duckbook.analysis.table_style import table
        from duckbook.analysis.value_style import plain

        rows = [
            {
                "check": check.name,
                "expected": plain(check.expected),
                "found": plain(check.found),
                "verdict": "passed" if check.passed else "FAILED",
            }
            for check in self.checks
        ]
        display(table(pd.DataFrame(rows)))


def start() -> Notebook:
    """Set a notebook up: settings, ``%sql``, and tables in one style.

    Returns
    -------
    Notebook
        Servers start when `Notebook.endpoints` is first asked for, so that a notebook over published marts
        starts none.

    Raises
    ------
    SettingError
        A setting is unknown or wrong; the sentence names it.
    """
    # What the notebook writes, and its servers, is its owner's alone, whatever folder it lies in.
    os.umask(0o077)
    chosen = settings()
    run_dir = os.environ.get(RUN_DIR)
    book = Notebook(chosen, shell=_shell(), run_dir=Path(run_dir) if run_dir else None)
    if book.shell is not None:
        _load_sql(book.shell)
        _show_errors_as_sentences(book.shell)
        _show_tables_in_one_style(book.shell)
    return book


def _shell() -> Any:
    """The IPython shell that this process is, or None."""
    import sys

    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def _load_sql(shell: Any) -> None:
    """Load jupysql with our configuration, whatever a person's ``~/.jupysql`` holds, and without its notices."""
    from IPython.utils.capture import capture_output

    if "SqlMagic" not in shell.magics_manager.registry:
        with capture_output():
            shell.run_line_magic("load_ext", "sql")
    magic = _sql_magic(shell)
    for option, value in SQL_MAGIC.items():
        setattr(magic, option, value)


def _sql_magic(shell: Any) -> Any:
    return shell.magics_manager.registry["SqlMagic"]


def _show_errors_as_sentences(shell: Any) -> None:
    """An error of ours is its sentence; the lines of the library that raised it help nobody who reads a notebook."""

    def show(shell, kind, error, _traceback, tb_offset=None):
        shell._showtraceback(kind, error, [f"{kind.__name__}: {error}"])

    shell.set_custom_exc((DuckbookError,), show)


def _show_tables_in_one_style(shell: Any) -> None:
    import pandas as pd

    from duckbook.analysis import table_style

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
