"""The notebook session, in this process and in a real kernel."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest
from duckbook.analysis.notebook import Notebook
from duckbook.errors import CheckFailed, DuckbookError, PublishError, WarehouseError
from duckbook.settings import Settings


@pytest.fixture
def book(tmp_path) -> Notebook:
    return Notebook(Settings(data=tmp_path / "data", _env_file=None), run_dir=tmp_path / "run")


def test_passed_checks_let_the_notebook_finish(book, capsys):
    book.check("orders", expected=3, found=Decimal(3))
    book.check("reviews per order", expected="at most 1", found=0.4, passed=True)
    book.finish()
    assert "passed" in capsys.readouterr().out


def test_a_failed_check_raises_with_the_found_value(book):
    book.check("orders", expected=12_000, found=11_999)
    book.check("items", expected=1, found=1)
    with pytest.raises(CheckFailed, match="1 of 2 checks failed: orders: expected 12,000, found 11,999"):
        book.finish()


def test_reports_are_json_for_any_kind_of_rows(book):
    import pandas as pd

    rows = [{"mart": "a", "total": Decimal("12.50"), "rows": Decimal(3), "on": date(2026, 6, 30)}]
    book.report("reconciliation", rows)
    book.report("monthly", pd.DataFrame({"orders": [1, 2]}))
    facts = book.run_dir / "facts"
    assert json.loads((facts / "reconciliation.json").read_text("utf-8")) == [
        {"mart": "a", "total": 12.5, "rows": 3, "on": "2026-06-30"}
    ]
    assert json.loads((facts / "monthly.json").read_text("utf-8")) == [{"orders": 1}, {"orders": 2}]
    assert (facts / "monthly.json").stat().st_mode & 0o077 == 0


def test_a_report_is_in_the_folder_of_its_step(book, monkeypatch):
    monkeypatch.setenv("DUCKBOOK_RUN_STEP", "marts")
    book.report("tests", [{"test": "unique", "status": "passed"}])
    assert [path.name for path in (book.run_dir / "facts" / "marts").iterdir()] == ["tests.json"]


def test_a_report_outside_a_run_is_discarded(tmp_path):
    Notebook(Settings(data=tmp_path / "data", _env_file=None)).report("tables", [{"table": "orders"}])
    assert list(tmp_path.iterdir()) == []


def test_a_report_cannot_leave_its_folder(book):
    with pytest.raises(DuckbookError, match="lower-case letters"):
        book.report("../run", [])


def test_missing_data_raise_with_the_notebook_to_run_first(book):
    with pytest.raises(WarehouseError, match=r"run notebooks/pipeline/03_ingest\.ipynb first"):
        book.connect("warehouse")
    with pytest.raises(PublishError, match=r"run notebooks/pipeline/07_publish\.ipynb first"):
        book.connect("published")
    with pytest.raises(DuckbookError, match="use 'landing', 'warehouse' or 'published'"):
        book.connect("wharehouse")


def test_a_released_warehouse_can_be_written_to(book):
    from duckbook.backends import warehouse

    with warehouse.open_warehouse(book.settings) as connection:
        connection.execute("create table t as select 1 as x")
    assert book.connect("warehouse").execute("select x from t").fetchone() == (1,)
    book.release()
    with warehouse.open_warehouse(book.settings) as connection:
        connection.execute("insert into t values (2)")
    assert book.connect("warehouse").execute("select count(*) from t").fetchone() == (2,)
    book.finish()


def test_in_a_kernel_sql_cells_use_the_connection_and_print_only_results(tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("DUCKBOOK_DATA", str(tmp_path / "data"))
    cells = [
        "from duckbook.analysis import notebook\nfrom duckbook.backends import warehouse\nbook = notebook.start()",
        "book = notebook.start()",
        "made = warehouse.open_warehouse(book.settings)",
        "_ = made.execute('create table t as select 2.50::decimal(9,2) as x'); made.close()",
        "con = book.connect('warehouse')",
        "%%sql\nselect x, [1, 2, 3][:2] as slice from t",
        "%%sql kept <<\nselect x from t where x > {{ 1 + 1 }}",
        "len(kept)",
        "book.finish()",
    ]
    document = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(document, timeout=60, kernel_name="python3").execute()
    shown = [[output.get("data", output)["text/plain"] for output in cell.outputs] for cell in document.cells]
    assert shown == [[], [], [], [], [], ["   x  slice\n2.50  1, 2"], [], ["1"], []]
