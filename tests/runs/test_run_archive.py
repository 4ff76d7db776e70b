"""Records of the archive are correct at every moment, even if the run is killed; secrets are redacted."""

from __future__ import annotations

import html
import json
import os
import subprocess
import sys
import time

import duckdb
import pytest
from chains import duckbook
from duckbook.errors import ChainError
from duckbook.redaction import Redactor, secrets_of
from duckbook.runs import page, provenance, run_archive
from duckbook.runs.run_archive import Run
from duckbook.settings import Settings

KEYS = {
    "run_id", "status", "target", "as_of", "parameters", "started_at", "ended_at", "git", "versions", "steps", "tables",
    "reconciliation", "tests",
}  # fmt: skip


def begin(archive, *names, **more) -> Run:
    steps = [(name, f"{name}.ipynb") for name in names or ("one", "two")]
    facts = {"git": {"commit": None, "dirty": None}, "versions": {}} | more
    return Run.begin(archive, target="duckdb", as_of="2026-06-30", parameters={}, steps=steps, **facts)


def on_disk(run: Run) -> dict:
    return json.loads((run.folder / "run.json").read_text("utf-8"))


def test_a_new_record_has_every_key(tmp_path):
    record = on_disk(begin(tmp_path))
    assert set(record) >= KEYS
    assert set(record["steps"][0]) == {
        "name", "notebook", "status", "started_at", "ended_at", "seconds", "peak_rss_mb", "read_mb", "written_mb",
        "error",
    }  # fmt: skip
    assert (record["status"], record["steps"][0]["status"]) == ("running", "waiting")


def test_run_ids_sort_by_time_and_latest_names_the_newest(tmp_path):
    ids = [begin(tmp_path).folder.name for _ in range(5)]
    assert ids == sorted(set(ids))
    assert run_archive.latest(tmp_path).name == ids[-1]
    assert [record["run_id"] for record in run_archive.read_all(tmp_path)] == ids[::-1]


def test_every_change_is_saved_at_once(tmp_path):
    run = begin(tmp_path)
    run.step_started("one")
    assert on_disk(run)["steps"][0]["status"] == "running"
    run.step_ended("one", run_archive.SUCCEEDED, peak_rss_mb=100.0)
    assert (on_disk(run)["steps"][0]["status"], on_disk(run)["steps"][0]["peak_rss_mb"]) == ("succeeded", 100.0)
    run.end(run_archive.FAILED, "because")
    assert (on_disk(run)["status"], on_disk(run)["error"]) == ("failed", "because")
    assert on_disk(run)["steps"][1]["status"] == "skipped"


def test_a_run_of_a_living_process_reads_as_running(tmp_path):
    assert run_archive.read(begin(tmp_path).folder)["status"] == "running"
    assert run_archive.interrupt_killed(tmp_path) == []


def test_a_killed_run_reads_as_interrupted_and_is_recorded_so(tmp_path):
    code = (
        "import os, sys, pathlib; from duckbook.runs.run_archive import Run; "
        "run = Run.begin(pathlib.Path(sys.argv[1]), target='duckdb', as_of=None, parameters={}, "
        "steps=[('one', 'one.ipynb'), ('two', 'two.ipynb')]); run.step_started('one'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    folder = run_archive.latest(tmp_path)
    cell = {"cell_type": "code", "metadata": {"papermill": {"status": "running"}}, "source": "", "outputs": []}
    never = {"cell_type": "code", "metadata": {"papermill": {"status": "pending"}}, "source": "", "outputs": []}
    (folder / "one.ipynb").write_text(json.dumps({"cells": [cell, never], "metadata": {}}), "utf-8")

    record = run_archive.read(folder)
    assert record["status"] == "interrupted"
    assert [step["status"] for step in record["steps"]] == ["interrupted", "skipped"]
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "running"

    assert run_archive.interrupt_killed(tmp_path) == [folder.name]
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "interrupted"
    cells = json.loads((folder / "one.ipynb").read_text("utf-8"))["cells"]
    assert [c["metadata"]["papermill"]["status"] for c in cells] == ["failed", "pending"]


def test_the_newest_run_is_per_data_folder_and_lists_have_kinds(tmp_path):
    ours, theirs = (Settings(data=tmp_path / name, runs=tmp_path / "runs", _env_file=None) for name in ("a", "b"))
    made = {}
    for shop, kind in ((ours, "latest"), (ours, "explore"), (theirs, "pipeline")):
        made[kind] = begin(ours.runs, store=provenance.data_folder(shop), kind=kind, code={})
        made[kind].end(run_archive.FAILED, "because")
    here = provenance.data_folder(ours)
    assert run_archive.latest(ours.runs).name == made["pipeline"].folder.name
    assert run_archive.latest(ours.runs, here).name == made["explore"].folder.name
    Run.reopen(made["latest"].folder, "one", "it was failed").end(run_archive.FAILED, "again")
    assert run_archive.find(ours.runs, "latest", here).name == made["latest"].folder.name
    assert run_archive.find(ours.runs, "latest", provenance.data_folder(theirs)).name == made["pipeline"].folder.name
    with pytest.raises(ChainError, match="There is no run of nowhere in the archive"):
        run_archive.find(ours.runs, "latest", "nowhere")
    (listed, _), (both, _) = (duckbook(ours, "list", *option).communicate(timeout=60) for option in ((), ("--all",)))
    rows = [tuple(line.split()[n] for n in (0, 1, 2, -1)) for line in listed.splitlines()]
    assert rows == [(made[kind].folder.name, kind, "failed", here) for kind in ("explore", "latest")]
    assert [line.split()[1] for line in both.splitlines()] == ["pipeline", "explore", "latest"]
    assert both.splitlines()[0].endswith(str(theirs.data))
    state, _ = duckbook(ours, "status").communicate(timeout=60)
    assert f"newest run   {made['latest'].folder.name} latest failed" in state
    assert "archive      2 runs" in state
    index = page.write_index(ours.runs).read_text("utf-8")
    for shop, kind in ((ours, "latest"), (theirs, "pipeline")):
        assert f'<td class="left">{kind}</td><td class="left">{shop.data}</td>' in index


def test_a_record_of_an_earlier_version_is_of_every_data_folder_and_has_a_kind(tmp_path):
    folder = begin(tmp_path, request={"only": "explore"}).folder
    assert run_archive.latest(tmp_path, "anything").name == folder.name
    assert run_archive.kind(run_archive.read(folder)) == "explore"
    assert run_archive.kind(run_archive.read(begin(tmp_path).folder)) == "pipeline"


def test_a_reused_process_id_is_not_taken_for_the_run(tmp_path):
    run = begin(tmp_path)
    run.record["process"]["started"] -= 1000
    run.save()
    assert run_archive.read(run.folder)["status"] == "interrupted"


def test_a_run_is_recognized_after_its_machine_is_renamed(tmp_path, monkeypatch):
    living, killed, elsewhere = begin(tmp_path), begin(tmp_path), begin(tmp_path)
    killed.record["process"]["pid"] = 2**22 - 1
    elsewhere.record["process"]["ids"] = "another machine"
    for run in (killed, elsewhere):
        run.save()
    monkeypatch.setattr(run_archive.socket, "gethostname", lambda: "renamed")
    statuses = [run_archive.read(run.folder)["status"] for run in (living, killed, elsewhere)]
    assert statuses == ["running", "interrupted", "running"]
    yesterday = time.time() - 90_000
    for path in elsewhere.folder.iterdir():
        os.utime(path, (yesterday, yesterday))
    assert run_archive.read(elsewhere.folder)["status"] == "interrupted"


def report(run: Run, step: str, name: str, rows) -> None:
    (run.folder / "facts" / step).mkdir(parents=True, exist_ok=True)
    (run.folder / "facts" / step / f"{name}.json").write_text(json.dumps(rows), "utf-8")


def test_facts_of_several_steps_are_merged_by_their_keys(tmp_path):
    run = begin(tmp_path)
    run.step_started("one")
    report(run, "one", "tables", [{"table": "orders", "landed": 5}, {"table": "reviews", "landed": 1}])
    report(run, "one", "tests", [{"test": "unique", "status": "passed"}])
    run.step_ended("one", run_archive.SUCCEEDED)
    run.step_started("two")
    report(run, "two", "tables", [{"table": "orders", "raw": 5, "staged": 5}])
    report(run, "two", "tests", [{"name": "unique", "status": "fail"}, {"name": "fresh", "status": "warn"}])
    report(run, "two", "run", {"as_of": "2026-07-01", "status": "succeeded"})
    report(run, "two", "figures", [{"name": "Orders", "value": 5}])
    run.step_ended("two", run_archive.SUCCEEDED)
    record = on_disk(run)
    assert record["tables"] == [
        {"table": "orders", "landed": 5, "raw": 5, "staged": 5},
        {"table": "reviews", "landed": 1},
    ]
    assert record["tests"] == {"passed": 1, "failed": 1, "warned": 1}
    assert record["as_of"] == "2026-07-01"
    assert record["status"] == "running"
    assert record["facts"] == {"figures": [{"name": "Orders", "value": 5}]}


def test_a_step_that_runs_again_does_not_count_its_tests_twice(tmp_path):
    run = begin(tmp_path)
    for _ in range(2):
        run.step_started("one")
        report(run, "one", "tests", [{"test": "unique", "status": "passed"}])
        run.step_ended("one", run_archive.SUCCEEDED)
    assert on_disk(run)["tests"]["passed"] == 1


def test_facts_of_parallel_steps_are_counted_for_the_step_that_reported_them(tmp_path):
    run = begin(tmp_path)
    for name, status in (("one", "passed"), ("two", "failed")):
        run.step_started(name)
        report(run, name, "tests", [{"test": name, "status": status}])
    run.step_ended("two", run_archive.FAILED)
    assert [(test["step"], test["test"]) for test in on_disk(run)["test_results"]] == [("two", "two")]
    run.step_ended("one", run_archive.SUCCEEDED)
    assert {test["step"]: test["test"] for test in on_disk(run)["test_results"]} == {"one": "one", "two": "two"}
    assert on_disk(run)["tests"] == {"passed": 1, "failed": 1, "warned": 0}


def test_facts_of_a_failed_attempt_are_not_counted_for_the_next_one(tmp_path):
    run = begin(tmp_path)
    run.step_started("one")
    report(run, "one", "figures", [{"name": "Orders", "value": 5}])
    run.step_started("one")
    run.step_ended("one", run_archive.SUCCEEDED)
    assert "facts" not in on_disk(run)


def test_a_missing_run_is_reported_by_name(tmp_path):
    with pytest.raises(ChainError, match="There is no run 2020"):
        run_archive.read(tmp_path / "2020")


def test_secrets_are_redacted_as_they_are_and_encoded_in_urls():
    redactor = Redactor(["p@ss/word!"])
    assert redactor.text("x p@ss/word! y postgresql://app:p%40ss%2Fword%21@host") == "x *** y postgresql://app:***@host"
    assert redactor.hits == 2


def test_secrets_are_redacted_as_html_json_and_python_escape_them():
    for secret in ("p'ss<\\word>", 'p"ss&\\word', "pä'ss\"word"):
        data = {"key": secret}
        for text in (str(data), repr(secret), html.escape(secret), json.dumps(data), json.dumps(json.dumps(data))):
            redactor = Redactor([secret])
            assert "word" not in redactor.text(text), text
            assert redactor.hits == 1


def test_a_secret_cut_off_in_a_table_is_redacted():
    redactor = Redactor(["0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ"])
    assert redactor.text("| 0123456789abcdefghijklmnopqrstuvwxyz0123456789A... |").startswith("| ***")
    assert redactor.hits == 1


SECRET = "7f3a9b0c2d4e6f8091a2b3c4d5e6f70819aabbcc"


def test_parts_of_a_secret_of_eight_characters_or_more_are_redacted():
    redactor = Redactor([SECRET])
    for size in (8, 9, 13, 29, 39):
        for at in range(len(SECRET) - size + 1):
            part = SECRET[at : at + size]
            assert redactor.text(f"LINE 1: ...{part}' ^") == "LINE 1: ...***' ^", part
    assert redactor.text(f"{SECRET[:20]}\n    {SECRET[20:]}") == "***\n    ***"


def test_a_part_of_a_secret_is_found_in_megabytes_of_text():
    redactor = Redactor([SECRET, "another-Secret-of-1-more"])
    filling = "select * from a_table where hash = '00112233445566778899' – é; " * 20_000
    assert redactor.text(f"{filling}{SECRET[5:17]}{filling}") == f"{filling}***{filling}"
    assert redactor.hits == 1


def test_statements_cut_by_duckdb_show_no_part_of_a_secret():
    with duckdb.connect() as connection:
        cut = 0
        for before in range(0, 90, 10):
            for statement in ("attach '{}' as x (type postgres) oops", "from read_csv('{}', nope = 1)"):
                with pytest.raises(duckdb.Error) as raised:
                    connection.execute(statement.format("b" * before + SECRET))
                message = str(raised.value).replace(SECRET, "")
                cut += any(SECRET[at : at + 8] in message for at in range(len(SECRET) - 7))
                clean = Redactor([SECRET]).text(str(raised.value))
                assert not any(SECRET[at : at + 8] in clean for at in range(len(SECRET) - 7)), clean
        assert cut > 5


def test_words_and_dates_in_a_password_are_not_secrets():
    redactor = Redactor(["warehouse-2026-06-30-of-Mary", "postgresql://me:s3cret-word-99@db.example.org:5432/sales"])
    text = "the warehouse of 2026-06-30 at db.example.org:5432/sales"
    assert redactor.text(text) == text


def test_only_the_password_of_a_dsn_is_a_secret():
    url = (
        "postgresql://me:Zx81qLmN02PqRsTuVwXy@db.us-east-1.example.org:5432/ecom_landing_zone?application_name=duckbook"
    )
    words = "host=db.example.org port=5432 dbname=ecom_landing password=Zx81qLmN02PqRsTuVwXy"
    redactor = Redactor([url, words, "Zx81qLmN02PqRsTuVwXy"])
    text = "xmlns='http%3A%2F%2Fwww.w3.org' in s3%3A%2F%2Fhistoric-ecom, us-east-1, port=5432, ecom_landing_zone"
    assert redactor.text(text) == text
    assert redactor.text("it began with Zx81qLmN02Pq") == "it began with ***"


def test_tokens_of_well_known_formats_are_redacted():
    redactor = Redactor()
    node = {"a": ["AKIAABCDEFGHIJKLMNOP", {"b": "ghp_" + "a" * 36}], "c": 1}
    assert redactor.scrub(node) == {"a": ["***", {"b": "***"}], "c": 1}
    assert redactor.hits == 2


@pytest.mark.parametrize(
    "token",
    [
        "ASIAABCDEFGHIJKLMNOP",
        "ghs_" + "a1" * 18,
        "github_pat_" + "a_1" * 25,
        "glpat-" + "a-1" * 7,
        "xoxb-" + "1234-" * 5 + "ab",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_a_token_is_recognized_only_as_a_whole_word(token):
    assert Redactor().text(f"key={token}.") in {"key=***.", "key=***"}
    within = f"thekey{token}"
    assert Redactor().text(within) == within or token.startswith("-")


def test_plain_words_are_not_secrets():
    redactor = Redactor(["postgres", "app", ""])
    assert redactor.text("postgres is an app") == "postgres is an app"


def test_the_password_in_a_dsn_is_a_secret(tmp_path):
    shop = Settings(data=tmp_path, postgres_dsn="postgresql://me:s3cret-word@db.example:5432/x", _env_file=None)
    assert "s3cret-word" in secrets_of(shop)
