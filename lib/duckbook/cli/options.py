"""Options that several commands share.

An option for a setting sets its ``DUCKBOOK_*`` variable before the settings are read, so that kernels inherit it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date

import click

from duckbook.errors import SettingError
from duckbook.settings import as_of_date, calendar_date, settings


def common_options(command: Callable) -> Callable:
    """Add the options for the data folder, the archive and the target."""
    for option in (
        click.option("--data", help="Data folder, with the local state of a shop.", callback=_setting),
        click.option("--runs", help="Folder of the run archive.", callback=_setting),
        click.option("--target", help="Where the warehouse lives: duckdb, lake or motherduck.", callback=_setting),
    ):
        command = option(command)
    return command


def size_options(command: Callable) -> Callable:
    """Add the options of the generator."""
    for option in (
        click.option("--customers", help="Customers at the end of the history.", callback=_setting),
        click.option("--seed", help="Seed of all random choices.", callback=_setting),
        click.option("--dirt", help="Share of records that are made dirty.", callback=_setting),
        click.option("--planted", help="Planted parameters to change, 'NAME=NUMBER …'.", callback=_setting),
    ):
        command = option(command)
    return command


def when_option(command: Callable) -> Callable:
    """Add the option for the as-of date."""
    return click.option("--as-of", callback=_date, help="Last day of the data, YYYY-MM-DD.")(command)


def parameter_option(command: Callable) -> Callable:
    """Add the option for notebook parameters."""
    text = "Parameter for all notebooks that have it; repeatable."
    return click.option("-p", "--parameter", "extra", multiple=True, metavar="NAME=VALUE", callback=_pairs, help=text)(
        command
    )


def complete_step(_context: click.Context, _parameter: click.Parameter, prefix: str) -> list[str]:
    """Complete the name of a step."""
    from duckbook.runs.chain import read_chain

    return [step.name for step in read_chain() if step.name.startswith(prefix)]


def complete_run(_context: click.Context, _parameter: click.Parameter, prefix: str) -> list[str]:
    """Complete the id of a run, newest first."""
    from duckbook.runs import provenance, run_archive

    ids = [record["run_id"] for record in run_archive.read_all(settings().runs, provenance.data_folder(settings()))]
    return [run_id for run_id in ["latest", *ids] if run_id.startswith(prefix)]


def complete_publication(_context: click.Context, _parameter: click.Parameter, prefix: str) -> list[str]:
    """Complete the name of a publication, newest first."""
    from duckbook.publish import publisher

    names = [publication.run_id for publication in publisher.publications(settings())]
    return [name for name in names if name.startswith(prefix)]


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
