"""The commands that look after a store: its servers, its state, its end, and JupyterLab upon it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from duckbook.backends import server_state
from duckbook.cli.options import store_options, when_option
from duckbook.errors import DuckbookError, visible


@click.command()
@store_options
@server_state.command
def up(**_store) -> None:
    """Start Postgres and the object store, and say where they are."""
    from duckbook.backends import servers
    from duckbook.settings import settings

    servers.preflight(settings())
    servers.up(settings())
    for server in servers.status(settings()):
        click.echo(f"{server['name']:<10} {server['state']:<10} {server['address']}")


@click.command()
@store_options
@server_state.command
def env(**_store) -> None:
    """Print how to reach the servers, passwords included, as lines for a shell: for programs that land data."""
    import shlex

    from psycopg2.extensions import parse_dsn

    from duckbook.backends import servers
    from duckbook.settings import settings

    endpoints = servers.up(settings())
    s3 = endpoints.s3
    values = {
        "AWS_ENDPOINT_URL_S3": s3.url,
        "AWS_DEFAULT_REGION": s3.region,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_SESSION_TOKEN": s3.session_token,
    }
    libpq = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    dsn = parse_dsn(endpoints.postgres_dsn)
    values |= {libpq[key]: str(value) for key, value in dsn.items() if key in libpq}
    for name, value in values.items():
        if value:
            click.echo(f"export {name}={shlex.quote(value)}")


@click.command()
@store_options
@server_state.command
def bi_env(**_store) -> None:
    """Print how BI reaches the published marts, its role's password included, as lines for a shell."""
    import shlex

    from duckbook.backends import servers
    from duckbook.publish import bi, bi_reader
    from duckbook.settings import settings

    dsn = bi.dsn_of(settings(), servers.up(settings()))
    reader = bi_reader.of(settings(), dsn)
    values = {"PGHOST": reader.host, "PGPORT": reader.port, "PGDATABASE": reader.database, "PGUSER": reader.user}
    values |= {"PGPASSWORD": reader.password, "PGOPTIONS": f"-c search_path={settings().bi_schema}"}
    for name, value in values.items():
        if value:
            click.echo(f"export {name}={shlex.quote(value)}")


@click.command()
@store_options
def down(**_store) -> None:
    """Stop the servers; what they hold stays."""
    from duckbook.backends import servers
    from duckbook.settings import settings

    stopped = servers.down(settings())
    click.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@click.command()
@store_options
def status(**_store) -> None:
    """Say what runs, what the warehouse holds, and how the newest run ended."""
    from duckbook.ops import status_report
    from duckbook.settings import settings

    for name, text in status_report.lines(settings()):
        click.echo(f"{name:<12} {text}")


@click.command()
@store_options
@when_option
@server_state.command
def check_landing(as_of, **_store) -> None:
    """Look at what has landed before it is ingested, and change nothing; fails where a run would."""
    from duckbook.backends import servers
    from duckbook.cli import landing_report, terminal
    from duckbook.ops import landing_check
    from duckbook.settings import settings

    servers.preflight(settings())
    report = landing_check.check(settings(), servers.reach(settings()), as_of)
    landing_report.show(terminal.console(), report)
    if report.stops:
        sys.exit(1)


@click.command()
@store_options
@click.argument("folder", type=click.Path(path_type=Path))
@server_state.command
def backup(folder, **_store) -> None:
    """Copy history and bookkeeping into a folder, from which `restore` makes the store again."""
    from duckbook.backends import servers
    from duckbook.ops import backup as backups
    from duckbook.settings import settings

    servers.preflight(settings())
    made = backups.back_up(settings(), servers.up(settings()), folder)
    click.echo(
        f"Backed up {made.commit} commits, as of {made.as_of}, into {made.folder}: {made.copied:,} objects copied, "
        f"{made.kept:,} there already, {made.dropped:,} dropped, {made.size / 1e6:,.1f} MB in all."
    )
    if made.foreign:
        click.echo(f"Left, for it is of no backup: {visible(', '.join(made.foreign[:5]))}.")


LONGEST_RUNTIME = 103 - len("/kernel-00000000-0000-0000-0000-000000000000-ipc-5")


@click.command()
@store_options
@server_state.command
def lab(**_store) -> None:
    """Open the notebooks in JupyterLab, with the servers up."""
    import tempfile

    from jupyter_core.paths import jupyter_runtime_dir

    from duckbook.backends import servers
    from duckbook.settings import ROOT, settings

    servers.preflight(settings())
    servers.up(settings())
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Kernels have their sockets there, and the path of a socket has at most about 100 characters.
    if len(os.fsencode(jupyter_runtime_dir())) > LONGEST_RUNTIME:
        os.environ["JUPYTER_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="duckbook-lab-")
    # JupyterLab takes the place of this process, so that Ctrl-C and its exit status are its own.
    os.chdir(ROOT / "notebooks")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ServerApp.ip=127.0.0.1",
        # Whoever may connect to a kernel's port can read what its cells print; to a file of ours nobody else may.
        "--KernelManager.transport=ipc",
        f"--ServerApp.root_dir={ROOT / 'notebooks'}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    os.execv(sys.executable, command)


@click.command()
@store_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(yes, **_store) -> None:
    """Stop the servers and remove the store: landing zone, history, warehouse and published marts."""
    import shutil

    from duckbook.backends import data_folder, servers
    from duckbook.backends.lock import one_writer
    from duckbook.settings import settings

    folder = settings().data
    if not folder.exists():
        click.echo(f"Nothing to clean: there is no {folder}.")
        return
    if not data_folder.is_ours(folder):
        raise DuckbookError(f"{folder} is no data folder of duckbook: name one with DATA=folder. Nothing was removed.")
    if not yes:
        click.confirm(f"Remove {folder} with everything that was made in it?", abort=True)
    with one_writer(settings(), "a clean-up"):
        servers.down(settings())
        for path in sorted(folder.iterdir(), key=lambda path: path.name == data_folder.MARK):
            if data_folder.made(folder, path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    left = sorted(path.name for path in folder.iterdir())
    if left:
        click.echo(f"Removed the store in {folder}, and left what is not of it: {visible(', '.join(left[:5]))}.")
    else:
        folder.rmdir()
        click.echo(f"Removed {folder}.")


COMMANDS = (up, env, bi_env, down, status, check_landing, backup, lab, clean)
