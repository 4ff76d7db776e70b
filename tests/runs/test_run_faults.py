"""A run or server killed at any moment leaves a correct record; the resumed run ends as if undisturbed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from chains import Memory, begin
from duckbook.backends import servers, storage, warehouse
from duckbook.errors import DuckbookError, PublishError
from duckbook.generate import landing
from duckbook.ingest import commit_log, history
from duckbook.ops import backup
from duckbook.publish import publisher
from duckbook.runs import chain, codebase, provenance, run_archive, runner
from duckbook.runs.request import Request
from duckbook.runs.run_archive import Run
from duckbook.settings import Settings

STEPS = ("generate_latest", "ingest", "staging", "intermediate", "marts", "publish")

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

TARGETS = ("chain", "kernel", "postgres", "s3")

FEW = (
    ("chain", signal.SIGKILL),
    ("chain", signal.SIGINT),
    ("kernel", signal.SIGKILL),
    ("postgres", signal.SIGKILL),
    ("s3", signal.SIGKILL),
)
"""Targets and signals in `make test`; `make soak` has all combinations."""

ENDED = {
    0: run_archive.SUCCEEDED,
    1: run_archive.FAILED,
    130: run_archive.INTERRUPTED,
    143: run_archive.INTERRUPTED,
    -9: run_archive.INTERRUPTED,
}
"""Exit status of the command line → status in the record."""


@dataclass(frozen=True)
class Strike:
    """A signal to a target while a step runs; `when` is a fraction of the step's usual duration."""

    step: str
    target: str
    signal: signal.Signals
    when: float


def start(shop: Settings, *arguments: str) -> subprocess.Popen:
    """Start the command line as from a terminal, in its own process group."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("DUCKBOOK_")}
    env |= {"DUCKBOOK_DATA": str(shop.data), "DUCKBOOK_RUNS": str(shop.runs), "DUCKBOOK_CUSTOMERS": "200"}
    return subprocess.Popen(
        [sys.executable, "-m", "duckbook", *arguments],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err


def record_of(shop: Settings) -> dict:
    """The newest record on disk, unchanged."""
    with contextlib.suppress(OSError):
        return json.loads((shop.runs / "latest" / "run.json").read_text("utf-8"))
    return {"steps": [], "status": None, "run_id": None}


def processes_of(shop: Settings) -> list[psutil.Process]:
    """Every process that names the archive: the chain, its watchdog, its kernels and their children."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(word.startswith(str(shop.runs)) for word in words):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def victims(shop: Settings, chain: subprocess.Popen, target: str) -> list[psutil.Process]:
    if target == "chain":
        return [psutil.Process(chain.pid)]
    if target == "kernel":
        below = psutil.Process(chain.pid).children(recursive=True)
        return [p for p in below if os.getpgid(p.pid) == p.pid and p.parent().pid != chain.pid]
    pid_file = next((shop.data / "servers").glob(f"{target}*.pid"))
    return [psutil.Process(int(pid_file.read_text()))]


def reaches(shop: Settings, chain: subprocess.Popen, step: str | None) -> bool:
    """Wait until the chain runs a step or has ended, and return whether it runs the step."""
    deadline = time.monotonic() + 300
    while chain.poll() is None:
        if any(entry["name"] == step and entry["status"] == run_archive.RUNNING for entry in record_of(shop)["steps"]):
            return True
        assert time.monotonic() < deadline, f"{step or 'the end'} was not reached"
        time.sleep(0.05)
    return False


def strike(shop: Settings, chain: subprocess.Popen, planned: Strike, took: dict[str, float]) -> str | None:
    """Send the signal at the planned moment, and return the time, or None if there was no target."""
    reaches(shop, chain, planned.step)
    time.sleep(planned.when * took[planned.step])
    if chain.poll() is not None:
        return None  # its process id may have been reused
    moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
    with contextlib.suppress(psutil.Error, ProcessLookupError, StopIteration):
        found = victims(shop, chain, planned.target)
        for victim in found:
            if planned.target == "chain" and planned.signal == signal.SIGINT:
                os.killpg(victim.pid, planned.signal)
            else:
                victim.send_signal(planned.signal)
        return moment if found else None
    return None


def check_everything(
    shop: Settings, chain: subprocess.Popen, planned: Strike, struck: str | None, before: str | None
) -> str:
    """Check that record, notebooks, page and readers agree with how the command line ended."""
    out, err = chain.communicate(timeout=300)
    wanted, record = ENDED.get(chain.returncode), record_of(shop)
    if chain.returncode in {-9, 130, 143} and struck and record.get("ended_at") and record["ended_at"] < struck:
        wanted = record["status"]  # the run had recorded its end before the signal
    assert wanted, f"{planned}: exit status {chain.returncode}\n{out}\n{err}"
    assert "Traceback" not in err, f"{planned}\n{err}"
    wait_for(lambda: record_of(shop)["status"] == wanted, f"{planned}: {wanted}, the record says otherwise")
    wait_for(lambda: not processes_of(shop), f"{planned}: still running: {processes_of(shop)}")
    record = record_of(shop)
    statuses = [step["status"] for step in record["steps"]]
    done = statuses.index(next((s for s in statuses if s != run_archive.SUCCEEDED), run_archive.SUCCEEDED))
    if wanted == run_archive.SUCCEEDED:
        assert set(statuses) == {run_archive.SUCCEEDED}
    else:
        assert record["error"], planned
        assert statuses[done] in {wanted, run_archive.SKIPPED}, (planned, statuses)
        assert set(statuses[done + 1 :]) <= {run_archive.SKIPPED}, (planned, statuses)
    folder = shop.runs / record["run_id"]
    for step in record["steps"]:
        check_cells(folder / step["notebook"], step["status"], planned)
    assert wanted in (folder / "index.html").read_text("utf-8"), planned
    check_readers(shop, record, before)
    return wanted


def check_cells(notebook: Path, status: str, planned: Strike) -> None:
    """Check that cells are completed up to one, and pending after it; all are completed in a step that succeeded."""
    if status == run_archive.SKIPPED:
        return
    with contextlib.suppress(OSError, KeyError):
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        states = [cell["metadata"]["papermill"]["status"] for cell in cells if cell["cell_type"] == "code"]
        # A run may be stopped between the end of its last cell and that of its step.
        completed = next((place for place, state in enumerate(states) if state != "completed"), len(states))
        if status == run_archive.SUCCEEDED:
            assert set(states) == {"completed"}, (planned, notebook.name, states)
        else:
            assert set(states[completed + 1 :]) <= {"pending"}, (planned, notebook.name, states)
            assert states[completed] in {"failed", "pending", "completed"}, (planned, notebook.name, states)


def check_readers(shop: Settings, record: dict, before: str | None) -> None:
    """Check that readers see the previous publication, or all of this run's once its step has started."""
    current = publisher.current(shop)
    if current is None:
        assert before is None
        return
    started = {step["name"] for step in record["steps"] if step["started_at"]}
    allowed = {before} | ({record["run_id"]} if "publish" in started else set())
    assert current.run_id.rsplit("-2", 1)[0] in allowed | {name and name.rsplit("-2", 1)[0] for name in allowed}
    folder = shop.data / "published" / current.run_id
    for mart, entry in json.loads((folder / "publication.json").read_text("utf-8"))["marts"].items():
        assert hashlib.sha256((folder / f"{mart}.parquet").read_bytes()).hexdigest() == entry["sha256"]
    with contextlib.closing(publisher.published(shop).connection) as connection:
        assert connection.execute("select count(*) from ecom_marts.dim_customers").fetchone()[0] > 100


def end_state(shop: Settings) -> dict:
    """Published marts, raw, and bookkeeping of the history, for comparison."""
    endpoints = servers.up(shop)
    log = commit_log.read(storage.client(endpoints.s3), shop.s3_historic_bucket)
    batches = [
        (b.batch_id, b.source, b.batch_date, b.sequence, b.as_of, b.landed, b.appended, b.unchanged, b.unreadable)
        for b in log.batches
    ]
    objects = storage.list_objects(storage.client(endpoints.s3), shop.s3_historic_bucket, "history/")
    named = {key for batch in log.batches for key in batch.files.values()}
    current = publisher.current(shop)
    publication = json.loads((shop.data / "published" / current.run_id / "publication.json").read_text("utf-8"))
    rows = {}
    with contextlib.closing(warehouse.open_warehouse(shop, read_only=True)) as connection:
        # Commits contain the state of Postgres, which differs between data folders.
        loaded = "schema_name = 'ecom_raw' and table_name <> 'commits'"
        tables = connection.execute(f"select table_name from duckdb_tables() where {loaded} order by 1").fetchall()
        for (name,) in tables:
            rows[name] = connection.execute(f"select count(*), bit_xor(hash(t)) from ecom_raw.{name} as t").fetchone()
    return {
        "marts": publication["marts"],
        "as_of": publication["as_of"],
        "batches": batches,
        "raw": rows,
        "commits": [(commit.number, commit.as_of) for commit in log.commits],
        "objects that no commit names": sorted(
            o.key for o in objects if o.key not in named and not o.key.startswith(commit_log.PREFIX)
        ),
    }


def wait_for(condition, sentence: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, sentence
        time.sleep(0.1)


def settings(folder: Path) -> Settings:
    return Settings(data=folder / "the data", runs=folder / "runs", customers=200, _env_file=None)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Settings:
    """A data folder after its first days, with its servers down."""
    shop = settings(tmp_path_factory.mktemp("base"))
    begin(shop)
    publisher.publish(shop, "first")
    servers.down(shop)
    return shop


@pytest.fixture
def copy(base, tmp_path):
    """A function that copies the data folder of the first run."""
    made: list[Settings] = []

    def copy_to(name: str) -> Settings:
        shop = settings(tmp_path / name)
        shutil.copytree(base.data, shop.data, symlinks=True)
        made.append(shop)
        return shop

    yield copy_to
    for shop in made:
        servers.down(shop)


def disturb(shop: Settings, plan: list[Strike], took: dict[str, float], *command: str) -> list[str]:
    """Run a command with the planned signals, resume it each time it ends, and return the result of each signal."""
    chain, results = start(shop, *command), []
    current = publisher.current(shop)
    before = current.run_id if current else None
    following = [*(planned.step for planned in plan[1:]), None]
    for planned, then in zip(plan, following, strict=True):
        struck = strike(shop, chain, planned, took)
        lives = reaches(shop, chain, then)
        ended = "survived" if lives else check_everything(shop, chain, planned, struck, before)
        results.append(f"{planned.target} {planned.signal.name} in {planned.step}: {ended if struck else 'too late'}")
        if ended == run_archive.SUCCEEDED:
            return results
        if not lives:
            chain = start(shop, "resume")
            with contextlib.suppress(PublishError):
                before = publisher.current(shop) and publisher.current(shop).run_id
    finish(chain)
    assert record_of(shop)["status"] == run_archive.SUCCEEDED
    return results


def test_a_run_that_is_killed_at_any_moment_has_a_correct_record_and_resumes_as_if_undisturbed(copy, soak):
    draw = random.Random() if soak else random.Random(11)
    undisturbed = copy("undisturbed")
    finish(start(undisturbed, "latest"))
    took = {step["name"]: step["seconds"] for step in record_of(undisturbed)["steps"]}
    expected = end_state(undisturbed)
    servers.down(undisturbed)
    struck, rounds, left = 0, 0, list(FEW)
    while struck < 50 if soak else left:
        rounds += 1
        whats = [(draw.choice(TARGETS), draw.choice(SIGNALS)) for _ in STEPS] if soak else draw.sample(left, len(left))
        steps = sorted(draw.sample(STEPS, len(whats)), key=STEPS.index)
        plan = [Strike(step, *what, draw.random()) for step, what in zip(steps, whats, strict=True)]
        shop = copy(f"struck {rounds}")
        results = disturb(shop, plan, took, "latest")
        struck += sum("too late" not in result for result in results)
        # A run that succeeds in spite of a signal ends its round; the remaining signals are in the next round.
        left = [what for what in left if what not in whats[: len(results)]]
        assert end_state(shop) == expected, results
        servers.down(shop)
        print(*results, sep="\n")


def refusal(shop: Settings, request: Request) -> str:
    """The error that refuses a run before it is in the archive."""
    before, states = run_archive.read_all(shop.runs), [row["state"] for row in servers.status(shop)]
    with pytest.raises(DuckbookError) as refused:
        runner.run(shop, request, Memory())
    assert run_archive.read_all(shop.runs) == before
    assert [row["state"] for row in servers.status(shop)] == states
    return str(refused.value)


DAY = Settings(_env_file=None).first_as_of

REFUSED = {
    "another size": (Request(values={"customers": 500}), "generated with customers=200, not 500"),
    "as the command line gives it": (Request(values={"customers": "500"}), "generated with customers=200, not 500"),
    "another seed": (Request(values={"seed": 7}), "generated with seed=42, not 7"),
    "other dirt": (Request(values={"dirt": 0.1}), "generated with dirt=0.002, not 0.1"),
    "other patterns": (Request(values={"planted": "spend_mean=60"}), "generated with planted=, not spend_mean=60"),
    "an earlier day": (Request(as_of=DAY - timedelta(1)), f"filled up to {DAY}, and {DAY - timedelta(1)} is earlier"),
    "an earlier next day": (
        Request(as_of=DAY - timedelta(1), next_day=True, leave_out=("generate_history",)),
        f"filled up to {DAY}",
    ),
    "an earlier day of others' data": (Request(as_of=DAY - timedelta(1), generate=False), "is earlier: use"),
    "a size of what is there": (
        Request(values={"customers": 500}, first="ingest"),
        "generated with customers=200, not 500",
    ),
    "a later day for the marts that are there": (
        Request(as_of=DAY + timedelta(1), only="publish"),
        f"ecom_marts is as of {DAY}, and no step of this run changes that. Leave AS_OF out, or ingest that day with",
    ),
    "a later day for the rows that are there": (
        Request(as_of=DAY + timedelta(1), first="staging"),
        f"ecom_raw is as of {DAY}, and no step",
    ),
    "an earlier day of what is published": (
        Request(as_of=DAY - timedelta(1), only="explore_sales"),
        f"the publication first is as of {DAY}, and no step of this run changes that. Leave AS_OF out.",
    ),
}
"""Requests that do not match the existing data → the error."""

NOTHING = {
    "one more day": (Request(next_day=True, leave_out=("generate_history",)), "The history has not been landed"),
    "what others landed": (Request(generate=False), "orders is missing from the landing zone"),
    "what others landed, of a size": (
        Request(generate=False, values={"customers": 500}),
        "CUSTOMERS is for generated data",
    ),
    "realism": (Request(only="realism"), "The history has not been landed"),
    "staging": (
        Request(first="staging"),
        "There is no warehouse warehouse.duckdb yet: run notebooks/pipeline/03_ingest",
    ),
    "publish": (Request(only="publish"), "There is no warehouse warehouse.duckdb yet"),
    "bi": (Request(only="bi"), "Nothing has been published yet"),
    "explore": (Request(only="explore"), "Nothing has been published yet"),
    "science": (Request(only="science"), "Nothing has been published yet"),
    "learn": (Request(only="learn"), "Nothing has been published yet"),
}
"""Requests that an empty data folder cannot meet → the error."""


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_do_not_match_the_data_are_refused_before_a_run_begins(base, case):
    request, sentence = REFUSED[case]
    assert sentence in refusal(base, request)


@pytest.mark.parametrize("case", NOTHING)
def test_missing_data_is_reported_before_a_run_begins(tmp_path, case):
    request, sentence = NOTHING[case]
    shop = settings(tmp_path)
    assert sentence in refusal(shop, request)
    assert not (shop.data / "servers").exists()


def failed_in(shop: Settings, step: str, as_of: date) -> str:
    """Write the record of a run that failed in a step, and return its id."""
    steps = [each for each in chain.read_chain() if not each.on_request]
    run = Run.begin(
        shop.runs,
        target=shop.target,
        as_of=as_of.isoformat(),
        parameters={},
        steps=[(each.name, each.notebook.name) for each in steps],
        request=Request(as_of=as_of).as_record,
        store=provenance.data_folder(shop),
        code=codebase.checksums(chain.CHAIN_FILE),
    )
    for each in steps:
        run.step_started(each.name)
        run.step_ended(each.name, run_archive.FAILED if each.name == step else run_archive.SUCCEEDED)
        if each.name == step:
            break
    run.end(run_archive.FAILED, "because")
    return run.folder.name


def test_resuming_an_older_run_does_not_move_a_date_back(copy):
    shop = copy("two days")
    monday, tuesday = DAY + timedelta(1), DAY + timedelta(2)
    steps = ("generate_latest", "ingest", "staging", "marts", "publish", "explore_sales")
    older = {step: failed_in(shop, step, monday) for step in steps}
    sooner = {step: failed_in(shop, step, DAY + timedelta(3)) for step in ("staging", "publish", "explore_sales")}
    endpoints = servers.up(shop)
    landing.land_latest(shop, endpoints, tuesday)
    history.ingest(shop, endpoints, tuesday)
    before = [record | {"steps": None} for record in run_archive.read_all(shop.runs)]
    errors = {}
    for step, run_id in older.items():
        with pytest.raises(DuckbookError) as refused:
            runner.resume(shop, run_id, Memory())
        errors[step] = str(refused.value)
    assert f"filled up to {tuesday}, and {monday} is earlier" in errors["generate_latest"]
    assert f"The history is as of {tuesday}, and {monday} is earlier" in errors["ingest"]
    # The warehouse and its readers have neither day yet.
    for step, schema in (("staging", "ecom_raw"), ("marts", "ecom_intermediate"), ("publish", "ecom_marts")):
        assert f"AS_OF={monday} is wrong: {schema} is as of {DAY}" in errors[step]
    assert f"the publication first is as of {DAY}" in errors["explore_sales"]
    for run_id in sooner.values():
        with pytest.raises(DuckbookError, match=f"is as of {DAY}, and no step"):
            runner.resume(shop, run_id, Memory())
    assert [record | {"steps": None} for record in run_archive.read_all(shop.runs)] == before
    log = commit_log.read(storage.client(endpoints.s3), shop.s3_historic_bucket)
    assert log.as_of == tuesday


def test_a_withdrawn_batch_is_removed_from_what_readers_see(copy):
    shop = copy("withdrawn")
    with warehouse.open_warehouse(shop, read_only=True) as connection:
        batch, rows = connection.execute(
            "select batch_id, appended from ecom_raw.batches where table_name = 'reviews' "
            "order by sequence desc limit 1"
        ).fetchone()
    reviews = "select count(*) from ecom_marts.fct_customer_reviews"
    with publisher.published(shop) as reader:
        before = reader.connection.execute(reviews).fetchone()[0]
    finish(start(shop, "withdraw", batch))
    with publisher.published(shop) as reader:
        after = reader.connection.execute(reviews).fetchone()[0]
    assert 0 < rows == before - after


COMMANDS = {
    "promote": ("promote", "lake"),
    "parity": ("parity", "RUN", "RUN"),
    "backup": ("backup", "BACKUP"),
    "restore": ("restore", "BACKUP", "--data", "EMPTY"),
    "check-landing": ("check-landing",),
    "forget": ("forget", "1"),
    "rebuild": ("rebuild",),
    "prune": ("prune",),
    "rollback": ("rollback", "RUN"),
    "docs": ("docs",),
}
"""Name → arguments. RUN is a publication, BACKUP the folder of a backup, EMPTY an empty data folder."""

FEW_COMMANDS = ("promote", "backup", "check-landing")
"""Commands interrupted in `make test`; `make soak` interrupts all, several times each."""


@pytest.fixture(scope="module")
def backed_up(base, tmp_path_factory) -> Path:
    """The folder of a backup."""
    folder = tmp_path_factory.mktemp("backups") / "kept"
    backup.back_up(base, servers.up(base), folder)
    servers.down(base)
    return folder


def is_working(process: subprocess.Popen) -> bool:
    """Whether a command has its signal handlers and has started its work."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(process.pid).cpu_times().user > 0.6
    return True


def state(shop: Settings) -> dict:
    """Revenue in the warehouse and for readers."""
    with contextlib.closing(warehouse.open_warehouse(shop, read_only=True)) as connection:
        has_marts = connection.execute("from duckdb_tables() where table_name = 'fct_order_details'").fetchall()
        query = "select sum(revenue) from ecom_marts.fct_order_details"
        revenue = connection.execute(query).fetchone() if has_marts else None
    with publisher.published(shop) as reader:
        seen = reader.connection.execute("select sum(revenue) from ecom_marts.fct_order_details").fetchone()
    return {"revenue": revenue, "seen": seen}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_command_reports_it_and_changes_nothing(base, backed_up, tmp_path, name, soak):
    if name not in FEW_COMMANDS and not soak:
        pytest.skip("only in make soak")
    draw = random.Random()
    ended = []
    for wait in (draw.uniform(0, 3) for _ in range(6)) if soak else (0.1,):
        named = {"RUN": "first", "BACKUP": str(backed_up), "EMPTY": str(tmp_path / f"empty{ended.count(0)}")}
        if name == "backup":
            named["BACKUP"] = str(tmp_path / "kept")
        words = [named.get(word, word) for word in COMMANDS[name]]
        before = state(base)
        process = start(base, *words)
        while process.poll() is None and not is_working(process):
            time.sleep(0.02)
        time.sleep(wait)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=300)
        ended.append(process.returncode)
        assert "Traceback" not in err and "Exception ignored" not in err, err
        # Python restores the default handler before it exits; shells report that as 130 too.
        assert process.returncode in {0, 130, -signal.SIGINT}, out + err
        if process.returncode == 130:
            assert "Stopped." in err.splitlines()
        if name not in {"forget", "rebuild"}:
            assert {row["state"] for row in servers.status(base)} == {"stopped"} or process.returncode != 130
        servers.down(base)
        if name == "rebuild":  # It builds the layers anew, one after the other, while readers keep theirs.
            assert state(base)["seen"] == before["seen"]
        elif name != "forget":
            assert state(base) == before
    # A quick command may end before the signal.
    assert 130 in ended or name != "promote", ended
    if name in {"backup", "restore", "rebuild", "forget"} and ended[-1] != 0:
        # The interrupted command can be repeated.
        finish(start(base, *words))
        servers.down(base)
        servers.down(Settings(data=named["EMPTY"], _env_file=None))
        assert state(base)["revenue"] is not None
