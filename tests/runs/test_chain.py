"""The chain: checks before it starts, how runs end, and that no process or secret is left behind."""

from __future__ import annotations

import html
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest
from chains import Memory, cell_states, duckbook, text_of, write_chain
from duckbook.backends.lock import one_writer
from duckbook.cli.terminal import LiveListener
from duckbook.errors import ChainError
from duckbook.runs import chain, execution, run_archive
from duckbook.runs.request import Request
from duckbook.runs.runner import resume, run
from duckbook.settings import ROOT, Settings
from rich.console import Console

SECRET = "planted-<SECRET>-of-a-test"


@pytest.fixture
def shop(tmp_path) -> Settings:
    return Settings(data=tmp_path / "the data", runs=tmp_path / "runs", _env_file=None)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[run_archive.Run, Memory]:
    """A run whose last step but one fails."""
    folder = tmp_path_factory.mktemp("done")
    shop = Settings(data=folder / "data", runs=folder / "runs", _env_file=None)
    file = write_chain(
        folder / "notebooks",
        "succeeds",
        "first=leaves_state",
        "second=leaves_state",
        "writes_facts",
        "fails",
        "never=succeeds",
        succeeds={"parameters": ["as_of"]},
    )
    memory = Memory()
    return run(shop, Request(generate=False, extra={"count": "3"}), memory, file), memory


def ended(shop: Settings, *steps: str, request: Request | None = None, **options: dict) -> run_archive.Run:
    return run(
        shop, request or Request(generate=False), Memory(), write_chain(shop.runs.parent / "nb", *steps, **options)
    )


def test_the_record_has_how_each_step_ended(done):
    record = done[0].record
    assert [step["status"] for step in record["steps"]] == ["succeeded"] * 4 + ["failed", "skipped"]
    assert record["status"] == "failed"
    assert json.loads((done[0].folder / "run.json").read_text("utf-8")) == record
    failed = record["steps"][4]
    assert failed["error"] == "cell 3: ValueError: the shelf is empty"
    assert failed["seconds"] > 0
    assert failed["peak_rss_mb"] > 50
    assert record["steps"][5]["started_at"] is None


def test_independent_steps_go_on_after_a_failure_and_the_run_fails(shop):
    alone = {"needs": [], "group": "science"}
    record = ended(
        shop, "fails", "other=succeeds", "third=succeeds", fails=alone, other=alone, third=alone | {"group": "learn"}
    ).record
    assert [step["status"] for step in record["steps"]] == ["failed", "succeeded", "succeeded"]
    assert record["status"] == "failed"
    assert record["error"].startswith("fails: cell 3")


def test_a_step_with_too_few_data_is_skipped_with_a_reason_and_the_run_succeeds(shop):
    alone = {"needs": [], "group": "science"}
    done = ended(shop, "has_too_little", "other=succeeds", has_too_little=alone, other=alone)
    skipped, other = done.record["steps"]
    sentence = "The published marts hold too few <b>reviews</b>, 3: this notebook needs at least 30."
    assert (skipped["status"], skipped["error"]) == ("skipped", sentence)
    assert (other["status"], done.record["status"], done.record["error"]) == ("succeeded", "succeeded", None)
    cells = json.loads((done.folder / "has_too_little.ipynb").read_text("utf-8"))["cells"]
    (output,) = cells[2]["outputs"]
    assert "".join(output["data"]["text/markdown"]) == f"**Skipped.** {sentence.replace('<', '&lt;')}"
    assert [cell["metadata"]["papermill"]["status"] for cell in cells] == ["completed"] * 3 + ["pending"] * 2
    overview = (done.folder / "index.html").read_text("utf-8")
    assert "1 of 2 steps succeeded, and 1 had too few data" in overview
    page = (done.folder / "has_too_little.html").read_text("utf-8")
    assert "The published marts hold too few &lt;b&gt;reviews" in page
    assert "The cell that failed" not in page


def test_a_run_fails_if_readers_are_pointed_at_another_day_meanwhile(shop):
    for run_id, as_of in (("other", "2026-05-31"), ("newest", "2026-06-30")):
        folder = shop.data / "published" / run_id
        folder.mkdir(parents=True)
        (folder / "publication.json").write_text(json.dumps({"run_id": run_id, "as_of": as_of, "marts": {}}))
    (shop.data / "published" / "CURRENT").write_text("newest\n")
    reads = {"needs": ["publish"], "group": "learn"}
    steps, chosen = ("publish=succeeds", "points_elsewhere", "reads=succeeds"), Request(generate=False, only="learn")
    record = ended(shop, *steps, request=chosen, publish={"needs": []}, points_elsewhere=reads, reads=reads).record
    assert [step["status"] for step in record["steps"]] == ["succeeded"] * 2
    assert (record["status"], record["as_of"]) == ("failed", "2026-06-30")
    assert record["error"] == (
        "Readers were pointed at the publication other, as of 2026-05-31, while this run read the one as of "
        "2026-06-30: its notebooks may have read either. Run it again."
    )


def test_ctrl_c_during_imports_prints_no_traceback(tmp_path):
    (tmp_path / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n")
    words = [sys.executable, "-m", "duckbook", "status"]
    done = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")
    assert 'duckbook = "duckbook.__main__:main"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_a_pipeline_step_does_not_start_after_a_failure(shop):
    alone = {"needs": [], "group": "science"}
    steps = "fails", "slow=sleeps", "later=succeeds"
    record = ended(shop, *steps, fails=alone, slow=alone, later={"needs": [], "group": "transform"}).record
    assert [step["status"] for step in record["steps"]][2] == "skipped"


def test_a_listener_is_called_for_every_step_and_cell(done):
    calls = done[1].calls
    assert calls[0][0] == "run"
    assert [(what, name) for what, name, *_ in calls[1:] if name == "succeeds"] == [
        ("start", "succeeds"),
        *[("cell", "succeeds")] * 3,
        ("end", "succeeds"),
    ]
    assert calls[-1] == ("end", "fails", "failed")


def test_a_parameter_reaches_the_notebook_with_its_type(done):
    assert "hello 3" in text_of(done[0].folder / "succeeds.ipynb")
    cells = json.loads((done[0].folder / "succeeds.ipynb").read_text("utf-8"))["cells"]
    assert any("count = 3" in "".join(cell["source"]) for cell in cells)


def test_no_state_leaks_from_one_notebook_to_the_next(done):
    assert text_of(done[0].folder / "first.ipynb") == "False False\n"
    assert text_of(done[0].folder / "second.ipynb") == "False False\n"


def test_facts_of_a_notebook_reach_the_record(done):
    record = done[0].record
    assert record["tables"] == [{"table": "orders", "landed": 3, "appended": 2, "unchanged": 1, "unreadable": 0}]
    assert record["tests"] == {"passed": 1, "failed": 0, "warned": 1}
    assert record["reconciliation"][0]["equal"] is True


def test_cells_after_the_failing_one_are_pending(done):
    assert cell_states(done[0].folder / "fails.ipynb") == ["completed", "completed", "failed", "pending"]


def test_the_executed_notebook_names_no_path_of_the_machine(done):
    paper = json.loads((done[0].folder / "succeeds.ipynb").read_text("utf-8"))["metadata"]["papermill"]
    assert (paper["input_path"], paper["output_path"]) == ("succeeds.ipynb", "succeeds.ipynb")


def test_the_archive_is_private(done):
    for path in [done[0].folder, *done[0].folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_failing_sql_cell_fails_the_step_with_the_databases_message(shop):
    failed = ended(shop, "fails_in_sql").record["steps"][0]
    assert failed["status"] == "failed"
    assert "Table with name no_such_table does not exist" in failed["error"]
    assert cell_states(shop.runs / "latest" / "fails_in_sql.ipynb") == ["completed", "completed", "failed", "pending"]


def test_a_failing_check_is_the_error_of_the_step(shop):
    assert ended(shop, "checks_fail").record["steps"][0]["error"].endswith("orders: expected 3, found 2.")


def test_a_kernel_that_dies_fails_its_step_and_marks_the_cell(shop):
    failed = ended(shop, "kills_its_kernel").record["steps"][0]
    assert failed["error"] == "cell 2: The kernel died."
    assert cell_states(shop.runs / "latest" / "kills_its_kernel.ipynb") == ["completed", "failed", "pending"]


def test_a_kernel_that_is_interrupted_while_it_replies_fails_its_step_at_once(shop, monkeypatch):
    monkeypatch.setattr(execution, "REPLY_SECONDS", 0.5)
    record = ended(shop, "interrupts_its_reply").record
    assert record["steps"][0]["error"] == "cell 2: The kernel was interrupted, and the result of the cell was lost."
    assert cell_states(shop.runs / "latest" / "interrupts_its_reply.ipynb") == ["completed", "failed", "pending"]
    assert record["seconds"] < 60


def test_a_step_past_its_limit_is_stopped_with_what_it_started(shop):
    # The limit covers the kernel's start too, which is slow on a busy machine.
    record = ended(shop, "starts_a_process", starts_a_process={"timeout": 8}).record
    assert record["status"] == "failed"
    assert "exceeded its limit of 8 s in cell 3" in record["steps"][0]["error"]
    assert is_gone(int((shop.runs / "latest" / "child.pid").read_text()))


def test_steps_that_do_not_need_each_other_run_in_parallel(shop):
    file = write_chain(shop.runs.parent / "nb", "one=sleeps", "two=sleeps", two={"needs": []})
    one, two = run(shop, Request(generate=False), Memory(), file).record["steps"]
    assert one["status"] == two["status"] == "succeeded"
    assert two["started_at"] < one["ended_at"]


def test_steps_that_only_read_start_no_server(shop, monkeypatch):
    monkeypatch.setattr("duckbook.backends.servers.up", lambda _settings: pytest.fail("servers were started"))
    file = write_chain(shop.runs.parent / "nb", "one=succeeds", "two=succeeds", two={"group": "learn", "needs": []})
    assert run(shop, Request(generate=False), Memory(), file).record["status"] == "succeeded"


@pytest.fixture
def secretive(tmp_path, monkeypatch) -> Settings:
    """Settings with a secret that kernels have in their environment."""
    monkeypatch.setenv("DUCKBOOK_S3_SECRET_ACCESS_KEY", SECRET)
    # The servers of these settings do not exist.
    monkeypatch.setattr("duckbook.backends.servers.preflight", lambda _settings: None)
    secrets = {"s3_access_key_id": "id", "s3_secret_access_key": SECRET, "s3_endpoint": "http://127.0.0.1:1"}
    return Settings(data=tmp_path / "data", runs=tmp_path / "runs", _env_file=None, **secrets)


@pytest.mark.parametrize("notebook", ["tells_a_secret", "shows_a_secret", "raises_a_secret", "reports_a_secret"])
def test_a_secret_is_in_no_file_and_fails_the_run(secretive, notebook):
    record = ended(secretive, "succeeds", notebook).record
    assert [step["status"] for step in record["steps"]] == ["succeeded", "failed"]
    assert "***" in record["error"]
    assert files_with(SECRET, secretive.runs) == []


def test_a_secret_parameter_is_in_no_file(secretive):
    request = Request(generate=False, extra={"greeting": f"hello {SECRET}"})
    assert ended(secretive, "succeeds", request=request).record["status"] == "failed"
    assert files_with(SECRET, secretive.runs) == []


def files_with(text: str, folder: Path) -> list[Path]:
    forms = {text, html.escape(text), quote(text, safe="")}
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if any(form in path.read_text("utf-8") for form in forms)]


@pytest.mark.parametrize(
    ("steps", "request_", "sentence"),
    [
        (["succeeds"], Request(generate=False, extra={"cuont": "2"}), "parameter 'cuont' (did you mean count?)"),
        (["succeeds"], Request(generate=False, extra={"count": "two"}), "count=two is not of the type int"),
        (["succeeds", "does_not_compile"], Request(generate=False), "does_not_compile.ipynb, code cell 2, line 1"),
        (
            ["succeeds", "misspells_a_name"],
            Request(generate=False),
            "misspells_a_name.ipynb, code cell 3, line 1: 'greetings' is used, and nothing before it defines it",
        ),
        (["succeeds", "has_no_parameters_cell"], Request(generate=False), "has 0 cells tagged `parameters`"),
        (["succeeds"], Request(generate=False, first="sucseeds"), "no step 'sucseeds' (did you mean succeeds?)"),
    ],
)
def test_errors_are_reported_before_anything_runs(shop, steps, request_, sentence):
    with pytest.raises(ChainError) as raised:
        ended(shop, *steps, request=request_)
    assert sentence in str(raised.value)
    assert not shop.runs.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[step]]\nname = "a"\nnotebook = "a.ipynb"\nneeds = ["b"]', "needs b, which is not a step"),
        ('[[step]]\nname = "a"\nnotebook = "a.ipynb"\nafter = "b"', "does not know the key 'after'"),
        ('[[step]]\nname = "a"', "lacks a name or a notebook"),
        ('[[step]]\nname = "a"\nnotebook = "x"\n[[step]]\nname = "a"\nnotebook = "y"', "two steps named a"),
        (
            '[[step]]\nname = "a"\nnotebook = "a"\nneeds = ["b"]\n[[step]]\nname = "b"\nnotebook = "b"\nneeds = ["a"]',
            "need each other in a circle",
        ),
        ("[[step]", "cannot be read"),
    ],
)
def test_a_wrong_chain_file_is_reported(tmp_path, text, sentence):
    file = tmp_path / "chain.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ChainError, match=sentence):
        chain.read_chain(file)


def test_the_projects_chain_is_valid():
    steps = chain.read_chain()
    assert [step.name for step in steps][:2] == ["generate_history", "generate_latest"]
    chain.check(steps, {"customers": "500", "seed": "7", "dirt": "0.01", "as_of": "2026-06-30"}, {})
    folder = chain.CHAIN_FILE.parent
    notebooks = {*folder.glob("*/*.ipynb")}
    assert notebooks == {step.notebook for step in steps}


def test_steps_are_selected_by_name_group_and_range():
    steps = chain.read_chain()

    def names(**chosen):
        return [step.name for step in chain.select(steps, **chosen)]

    assert names(only="marts") == ["marts"]
    assert names(first="staging", last="marts") == ["staging", "intermediate", "marts"]
    assert names(generate=False)[0] == "ingest"
    assert "realism" not in names()
    assert names(only="realism") == ["realism"]
    assert names(only="transform") == ["staging", "intermediate", "marts"]
    assert names(only="publish") == ["publish"]
    assert "bi" not in names()
    assert names(first="marts", always=("bi",))[:3] == ["marts", "publish", "bi"]
    assert names(last="publish", always=("bi",))[-1] == "publish"
    with pytest.raises(ChainError, match="No step is left"):
        names(first="marts", last="staging")


def test_a_second_run_reports_who_holds_the_data_folder(shop):
    with one_writer(shop, "a run of the chain"), pytest.raises(ChainError, match=r"A run of the chain \(process \d+"):
        ended(shop, "succeeds")
    assert ended(shop, "succeeds").record["status"] == "succeeded"


def test_a_failed_run_resumes_from_the_step_that_failed(shop):
    file = write_chain(shop.runs.parent / "nb", "succeeds", "wants_a_file", "writes_facts")
    first = run(shop, Request(generate=False, extra={"count": "2"}), Memory(), file).record
    assert [step["status"] for step in first["steps"]] == ["succeeded", "failed", "skipped"]
    (shop.data / "key").touch()
    second = resume(shop, first["run_id"], Memory(), file).record
    assert (second["run_id"], second["status"], second["error"]) == (first["run_id"], "succeeded", None)
    assert second["steps"][0] == first["steps"][0]
    assert [step["status"] for step in second["steps"]] == ["succeeded"] * 3
    assert second["resumed"][0]["from"] == "wants_a_file"
    assert second["resumed"][0]["because"] == "it was failed"
    assert second["seconds"] > first["seconds"]
    assert second["parameters"]["count"] == "2"
    with pytest.raises(ChainError, match="only a failed or interrupted run is resumed"):
        resume(shop, "latest", Memory(), file)


def test_a_resumed_run_goes_back_to_a_notebook_that_has_changed(shop):
    file = write_chain(shop.runs.parent / "nb", "succeeds", "wants_a_file")
    run(shop, Request(generate=False), Memory(), file)
    (shop.data / "key").touch()
    changed = file.parent / "succeeds.ipynb"
    changed.write_text(changed.read_text("utf-8").replace("'hello'", "'good day'"), "utf-8")
    again = resume(shop, "latest", Memory(), file).record
    assert again["resumed"][0]["from"] == "succeeds"
    assert again["resumed"][0]["because"] == "its code has changed since: succeeds.ipynb"
    assert "good day 1" in text_of(shop.runs / "latest" / "succeeds.ipynb")


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition, seconds: float = 30, pause: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(pause)


@pytest.mark.parametrize(
    ("sent", "exit_status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_stopped_run_is_recorded_so_and_leaves_nothing_running(shop, sent, exit_status):
    file = write_chain(shop.runs.parent / "nb", "starts_a_process", "never=succeeds")
    sockets = shop.runs.parent / "tmp"
    sockets.mkdir()
    process = duckbook(shop, "run", "--no-generate", "--chain", str(file), TMPDIR=str(sockets))
    latest = shop.runs / "latest"
    wait_for(lambda: (latest / "child.pid").exists() and cell_states(latest / "starts_a_process.ipynb")[2] == "running")
    running = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert process.returncode == exit_status, out + err
    wait_for(lambda: json.loads((latest / "run.json").read_text("utf-8"))["status"] == "interrupted")
    wait_for(lambda: all(map(is_gone, running)))
    wait_for(lambda: not list(sockets.glob("duckbook-*")))
    record = run_archive.read(latest.resolve())
    assert [step["status"] for step in record["steps"]] == ["interrupted", "skipped"]
    assert cell_states(latest / "starts_a_process.ipynb") == ["completed", "completed", "failed"]
    assert "Traceback" not in out + err


def test_a_run_that_is_stopped_while_it_ends_still_writes_its_page(shop):
    file = write_chain(shop.runs.parent / "nb", "succeeds")
    process = duckbook(shop, "run", "--no-generate", "--chain", str(file))
    record = shop.runs / "latest" / "run.json"
    wait_for(lambda: record.exists() and json.loads(record.read_text("utf-8"))["status"] == "succeeded", pause=0.001)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode in {0, 143}, out + err
    assert "The step succeeded" in (shop.runs / "latest" / "index.html").read_text("utf-8")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as in a terminal; a shell without job control ignores it in background processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_page_and_record_of_a_run_that_is_stopped_while_it_ends_agree(shop, monkeypatch, ctrl_c, moment):
    file = write_chain(shop.runs.parent / "nb", "succeeds")
    end = run_archive.Run.end

    def end_with_signal(self, *arguments):
        if moment == "before":
            signal.raise_signal(signal.SIGINT)
        end(self, *arguments)
        if moment == "after":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run_archive.Run, "end", end_with_signal)
    assert run(shop, Request(generate=False), Memory(), file).record["status"] == "succeeded"
    latest = shop.runs / "latest"
    assert run_archive.read(latest.resolve())["status"] == "succeeded"
    assert "The step succeeded" in (latest / "index.html").read_text("utf-8")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_second_signal_does_not_disturb_a_run_that_is_being_stopped(shop, ctrl_c):
    file = write_chain(shop.runs.parent / "nb", "a=starts_a_process", "b=starts_a_process", b={"needs": []})

    class Impatient(Memory):
        def cell_started(self, step, cell) -> None:
            super().cell_started(step, cell)
            if {call[1] for call in self.calls if call[0] == "cell" and call[2] == cell} == {"a", "b"}:
                signal.raise_signal(signal.SIGINT)

        def step_ended(self, step, entry) -> None:
            super().step_ended(step, entry)
            signal.raise_signal(signal.SIGINT)

    listener = Impatient()
    with pytest.raises(KeyboardInterrupt):
        run(shop, Request(generate=False), listener, file)
    record = run_archive.read((shop.runs / "latest").resolve())
    assert (record["status"], record["error"]) == ("interrupted", "It was stopped by Ctrl-C.")
    assert [step["status"] for step in record["steps"]] == ["interrupted", "interrupted"]
    assert {call[1:] for call in listener.calls if call[0] == "end"} == {("a", "interrupted"), ("b", "interrupted")}
    assert "interrupted" in (shop.runs / "latest" / "index.html").read_text("utf-8")


def test_a_run_started_by_nohup_outlives_its_terminal(shop):
    file = write_chain(shop.runs.parent / "nb", "succeeds")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does before it starts a program
    try:
        process = duckbook(shop, "run", "--no-generate", "--chain", str(file))
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for((shop.runs / "latest" / "run.json").exists)
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, out + err


def test_the_command_line_ends_with_a_summary_and_the_command_to_resume(shop):
    file = write_chain(shop.runs.parent / "nb", "writes_facts", "fails")
    process = duckbook(shop, "run", "--no-generate", "--chain", str(file))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    page = shop.runs.resolve() / run_archive.latest(shop.runs).name / "index.html"
    assert f"Page: {page}" in out
    assert "Marts: all 1 totals of 1 marts equal staging." in out
    assert "Step fails failed: cell 3: ValueError: the shelf is empty" in err
    assert f".venv/bin/duckbook resume {run_archive.latest(shop.runs).name}" in err
    assert page.exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["run", "--customers", "many"], {}, "DUCKBOOK_CUSTOMERS=many is wrong"),
        (["run", "--as-of", "yesterday"], {}, "AS_OF=yesterday is no date"),
        (["run", "-p", "state"], {}, "'state' is not NAME=VALUE"),
        (["status"], {"DUCKBOOK_CUSTOMRES": "5"}, "did you mean DUCKBOOK_CUSTOMERS?"),
        (["run", "--target", "motherduck"], {}, "needs a token"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_status_two(shop, arguments, environment, sentence):
    process = duckbook(shop, *arguments, **environment)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert not shop.runs.exists()


def test_the_status_imports_nothing_heavy(shop):
    code = (
        "import sys; from duckbook import settings; from duckbook.cli import commands; "
        "from duckbook.ops import status_report; status_report.lines(settings.settings()); print(*sys.modules)"
    )
    env = {"DUCKBOOK_DATA": str(shop.data), "DUCKBOOK_RUNS": str(shop.runs), "PATH": "/usr/bin:/bin"}
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pandas", "duckdb", "dbt", "boto3", "matplotlib", "papermill", "psycopg2"} & set(loaded)
    assert not Path(shop.data).exists()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("duckbook re", {"resume", "report", "rebuild"}),
        ("duckbook run --from st", {"staging"}),
        ("duckbook show la", {"latest"}),
    ],
)
def test_the_shell_completes_commands_steps_and_runs(shop, words, offered):
    process = duckbook(shop, _DUCKBOOK_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    out, err = process.communicate(timeout=60)
    assert offered <= {line.split(",")[1] for line in out.splitlines()}, err


@pytest.mark.parametrize(("width", "expected"), [(80, "1 of 3"), (120, "1 of 3, waiting: never")])
def test_the_terminal_shows_ended_running_and_waiting_steps(tmp_path, width, expected):
    steps = chain.read_chain(write_chain(tmp_path, "succeeds", "sleeps", "never=succeeds"))
    out = Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None)
    listener = LiveListener(out)
    with listener:
        listener.run_started(steps)
        listener.step_started(steps[0])
        listener.step_ended(steps[0], {"status": "succeeded", "seconds": 1.25})
        listener.step_started(steps[1])
        listener.cell_started(steps[1], 2)
        listener._progress.refresh()
        shown = out.file.getvalue()
    assert "✓ succeeds              1.2 s" in shown
    for text in (expected, "sleeps", "cell 2"):
        assert text in shown


def test_a_run_goes_on_when_its_output_is_closed(shop):
    process = duckbook(shop, "run", "--no-generate", "--chain", str(write_chain(shop.runs.parent / "nb", "succeeds")))
    process.stdout.close()
    assert process.wait(60) == 0, process.stderr.read()
    assert run_archive.read((shop.runs / "latest").resolve())["status"] == "succeeded"
    process.stderr.close()
