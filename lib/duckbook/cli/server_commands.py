"""Commands for the servers and the data folder, and JupyterLab."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from duckbook.backends import server_state
from duckbook.cli.options import common_options, when_option
from duckbook.errors import DuckbookError, visible
from duckbook.settings import ROOT, settings


@click.command()
@common_options
@server_state.command
def up(**_common) -> None:
    """Start Postgres and the object storage, and print their addresses."""
    from duckbook.backends import servers

    servers.preflight(settings())
    servers.up(settings())
    servers.keep(settings())
    for server in servers.status(settings()):
        click.echo(f"{server['name']:<10} {server['state']:<10} {server['address']}")


@click.command()
@common_options
@server_state.command
def env(**_common) -> None:
    """Print shell variables, with passwords, for programs that land data."""
    import shlex

    from psycopg2.extensions import parse_dsn

    from duckbook.backends import servers

    endpoints = servers.up(settings())
    servers.keep(settings())
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
@common_options
@server_state.command
def bi_env(**_common) -> None:
    """Print shell variables, with the password, for BI tools that read the published marts."""
    import shlex

    from duckbook.backends import servers
    from duckbook.publish import bi, bi_schema

    dsn = bi.bi_dsn(settings(), servers.up(settings()))
    values = bi_schema.reader_for(settings(), dsn) | {"options": f"-c search_path={settings().bi_schema}"}
    servers.keep(settings())
    for name, value in values.items():
        click.echo(f"export PG{name.replace('dbname', 'database').upper()}={shlex.quote(value)}")


@click.command()
@common_options
def down(**_common) -> None:
    """Stop the servers; their data remain."""
    from duckbook.backends import servers

    stopped = servers.down(settings())
    click.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@click.command()
@common_options
def status(**_common) -> None:
    """Show the servers, the contents of the warehouse, and how the newest run ended."""
    from duckbook.ops import status_report

    for name, text in status_report.lines(settings()):
        click.echo(f"{name:<12} {text}")


@click.command()
@common_options
@when_option
@server_state.command
def check_landing(as_of, **_common) -> None:
    """Check landed data before they are ingested, without changing anything; fail if a run would."""
    from duckbook.backends import servers
    from duckbook.cli import landing_report, terminal
    from duckbook.ops import landing_check

    servers.preflight(settings())
    report = landing_check.check(settings(), servers.connect(settings()), as_of)
    landing_report.show(terminal.console(), report)
    if report.stops:
        sys.exit(1)


@click.command()
@common_options
@click.argument("folder", type=click.Path(path_type=Path))
@server_state.command
def backup(folder, **_common) -> None:
    """Back up the history and bookkeeping to a folder, from which `restore` rebuilds the data folder."""
    from duckbook.backends import servers
    from duckbook.ops import backup as backups

    servers.preflight(settings())
    made = backups.back_up(settings(), servers.up(settings()), folder)
    click.echo(
        f"Backed up {made.commit} commits, as of {made.as_of}, into {made.folder}: {made.copied:,} objects copied, "
        f"{made.kept:,} kept, {made.dropped:,} deleted, {made.size / 1e6:,.1f} MB in total."
    )
    if made.foreign:
        click.echo(f"Not part of a backup, and left as they are: {visible(', '.join(made.foreign[:5]))}.")


LONGEST_RUNTIME = 103 - len("/kernel-00000000-0000-0000-0000-000000000000-ipc-5")


@click.command()
@common_options
@server_state.command
def lab(**_common) -> None:
    """Start the servers and open the notebooks in JupyterLab."""
    import tempfile

    from jupyter_core.paths import jupyter_runtime_dir

    from duckbook.backends import servers

    servers.preflight(settings())
    servers.up(settings())
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Kernels put their sockets there, and socket paths are limited to about 100 characters.
    if len(os.fsencode(jupyter_runtime_dir())) > LONGEST_RUNTIME:
        os.environ["JUPYTER_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="duckbook-lab-")
    # JupyterLab replaces this process, and so gets Ctrl-C and sets the exit status.
    os.chdir(ROOT / "notebooks")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ServerApp.ip=127.0.0.1",
        # Any local user can read a kernel's output from its TCP port, but not from a private socket.
        "--KernelManager.transport=ipc",
        f"--ServerApp.root_dir={ROOT / 'notebooks'}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    os.execv(sys.executable, command)


@click.command()
@common_options
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def clean(yes, **_common) -> None:
    """Stop the servers and delete the data folder: landing zone, history, warehouse and published marts."""
    import shutil

    from duckbook.backends import data_folder, servers
    from duckbook.backends.lock import one_writer

    folder = settings().data
    if not folder.exists():
        click.echo(f"Nothing to clean: there is no {folder}.")
        return
    if not data_folder.is_data_folder(folder):
        raise DuckbookError(
            f"{folder} is not a data folder of duckbook: name one with DATA=folder. Nothing was removed."
        )
    if not yes:
        click.confirm(f"Remove {folder} and everything that duckbook created in it?", abort=True)
    with one_writer(settings(), "a clean-up"):
        servers.down(settings())
        for path in sorted(folder.iterdir(), key=lambda path: path.name == data_folder.MARKER):
            if data_folder.made_by_duckbook(folder, path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    others = sorted(path.name for path in folder.iterdir())
    if others:
        click.echo(f"Cleaned {folder}. Files that are not duckbook's remain: {visible(', '.join(others[:5]))}.")
    else:
        folder.rmdir()
        click.echo(f"Removed {folder}.")


COMMANDS = (up, env, bi_env, down, status, check_landing, backup, lab, clean)
