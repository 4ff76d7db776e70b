"""Committed outputs: copied from an executed notebook, without what differs between runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from chains import Memory, write_chain
from duckbook.errors import ChainError
from duckbook.ops import committed_outputs
from duckbook.runs import chain, codebase
from duckbook.runs.request import Request
from duckbook.runs.runner import run
from duckbook.settings import ROOT, Settings, read_settings


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> tuple[Path, Path]:
    """Return a notebook, and the folder of a run that executed it with other parameters."""
    folder = tmp_path_factory.mktemp("outputs")
    settings = Settings(data=folder / "data", runs=folder / "runs", _env_file=None)
    file = write_chain(folder / "nb", "succeeds")
    record = run(settings, Request(generate=False, extra={"count": "7"}), Memory(), file)
    return folder / "nb" / "succeeds.ipynb", record.folder


def test_a_notebook_keeps_its_source_and_gets_the_outputs(executed):
    committed, folder = executed
    before, after = (
        json.loads(committed.read_text("utf-8")),
        json.loads(committed_outputs._fresh(committed, folder, {})),
    )
    assert [cell["source"] for cell in after["cells"]] == [cell["source"] for cell in before["cells"]]
    assert after["metadata"] == before["metadata"] | {codebase.METADATA_KEY: {}}
    assert after["cells"][-1]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["hello 7\n"]}]


def test_metadata_of_the_run_is_not_copied(executed):
    text = committed_outputs._fresh(*executed, {})
    assert "papermill" not in text
    assert executed[1].name not in text


def test_cells_are_counted_as_run_all_cells_counts_them(executed):
    cells = json.loads(committed_outputs._fresh(*executed, {}))["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_an_output_that_names_this_machine_is_refused(executed):
    with pytest.raises(ChainError, match=r"An output of succeeds\.ipynb contains '/home/me'"):
        committed_outputs._refuse_traces(executed[0], '"text": "read /home/me/data"', ["/home/me"])


def test_the_canonical_run_has_the_defaults_and_a_temporary_data_folder(tmp_path, monkeypatch):
    for name, value in committed_outputs.canonical_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    settings = read_settings(None)
    assert settings.data.is_relative_to(tmp_path)
    assert settings.runs.is_relative_to(tmp_path)
    names = ("customers", "seed", "dirt", "planted", "first_as_of", "target")
    assert [getattr(settings, name) for name in names] == [Settings.model_fields[name].default for name in names]


def test_cell_ids_are_unique():
    """Outputs are matched by the id of their cell."""
    for step in chain.read_chain():
        cells = json.loads(step.notebook.read_text("utf-8"))["cells"]
        ids = [cell["id"] for cell in cells]
        assert len(set(ids)) == len(ids), step.notebook.name


def test_no_committed_output_holds_an_address():
    address = re.compile(r"[\w.+-]+@[\w-]+\.\w{2,}|\b\d+ [A-Z]\w+ \w+\.?, [A-Z][\w ]+, [A-Z]{2} \d{5}\b")
    assert address.search("mail to ada.l@example.com")
    assert address.search("to 6071 Watson Lane, New York, NY 10068 by")
    found = {}
    for notebook in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        outputs = [cell.get("outputs", []) for cell in json.loads(notebook.read_text("utf-8"))["cells"]]
        text = json.dumps(outputs, ensure_ascii=False)
        # In the text of an image neither can occur, and searching it takes seconds.
        if hits := address.findall(re.sub(r'"image/png": "[^"]*"', "", text)):
            found[notebook.name] = hits[:3]
    assert found == {}
