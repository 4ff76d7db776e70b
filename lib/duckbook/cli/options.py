"""Options that several commands have.

An option of a setting sets its ``DUCKBOOK_*`` variable before the settings are read, so that kernels inherit it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date

import click

from duckbook.errors import SettingError
from duckbook.settings import as_of_date, calendar_date


def store_options(command: Callable) -> Callable:
    """Options that say which store and target a command works on."""
    for option in (
        click.option("--data", help="Folder of the store's state.", callback=_setting),
        click.option("--runs", help="Folder of the run archive.", callback=_setting),
        click.option("--target", help="Where the warehouse lives: duckdb, lake or motherduck.", callback=_setting),
    ):
        command = option(command)
    return command


def size_options(command: Callable) -> Callable:
    """Options that say what is generated."""
    for option in (
        click.option("--customers", help="Customers at the end of the history.", callback=_setting),
        click.option("--seed", help="Seed of every random choice.", callback=_setting),
        click.option("--dirt", help="Share of records made dirty on purpose.", callback=_setting),
        click.option("--planted", help="Planted parameters to change, 'NAME=NUMBER …'.", callback=_setting),
    ):
        command = option(command)
    return command


def when_option(command: Callable) -> Callable:
    """The as-of date."""
    return click.option("--as-of", callback=_date, help="Last day of the data, YYYY-MM-DD.")(command)


def parameter_option(command: Callable) -> Callable:
    """Parameters for whichever notebooks have them."""
    text = "A parameter for the notebooks that have it; may be given several times."
    return click.option("-p", "--parameter", "extra", multiple=True, metavar="NAME=VALUE", callback=_pairs, help=text)(
        command
    )


def complete_step(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The steps of the chain, for the shell's completion."""
    from duckbook.runs.chain import read_chain

    return [step.name for step in read_chain() if step.name.startswith(begun)]


def complete_run(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The ids of the runs in the archive, newest first, for the shell's completion."""
    from duckbook.runs import provenance, run_archive
    from duckbook.settings import settings

    ids = [record["run_id"] for record in run_archive.read_all(settings().runs, provenance.data_folder(settings()))]
    return [run_id for run_id in ["latest", *ids] if run_id.startswith(begun)]


def complete_publication(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The names of the publications that are kept, newest first, for the shell's completion."""
    from duckbook.publish import publisher
    from duckbook.settings import settings

    return [found.run_id for found in publisher.publications(settings()) if found.run_id.startswith(begun)]


def _setting(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        os.environ[f"DUCKBOOK_{parameter.name.upper()}"] = value
    return value


def _date(context: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    try:
        day = date.fromisoformat(str(calendar_date(value)))
    except ValueError:
        raise SettingError(f"AS_OF={value} is no date: write it as YYYY-MM-DD, such as 2026-06-30.") from None
    try:
        return as_of_date(day)
    except ValueError as error:
        raise SettingError(f"AS_OF={value} is wrong: it {error}.") from None


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise SettingError(f"Parameter {value!r} is not NAME=VALUE.")
        pairs[name] = text
    return pairs
