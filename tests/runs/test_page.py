"""The pages of the archive, as HTML and in a browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from chains import Memory, write_chain
from duckbook.analysis import page_charts
from duckbook.runs import durations, page, run_archive
from duckbook.runs.request import Request
from duckbook.runs.run_archive import Run
from duckbook.runs.runner import run
from duckbook.settings import Settings

TABLE = {
    "table": "orders", "landed": 30, "appended": 20, "unchanged": 9, "unreadable": 1,
    "raw": 20, "staged": 15, "superseded": 3, "quarantined": 2,
}  # fmt: skip


class Links(HTMLParser):
    """What a page leads to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, _tag, attributes) -> None:
        self.found += [value for name, value in attributes if name in {"href", "src"} and value]


def make(archive: Path, status: str = run_archive.SUCCEEDED, **facts) -> Run:
    steps = [("ingest", "03_ingest.ipynb"), ("marts", "06_marts.ipynb")]
    known = {"git": {"commit": "0123456789abcdef", "dirty": False}, "versions": {"duckdb": "1.5.5"}, "store": "data"}
    record = Run.begin(
        archive, target="duckdb", as_of="2026-06-30", parameters={"customers": 500}, steps=steps, **known
    )
    record.step_started("ingest")
    error = None if status == run_archive.SUCCEEDED else "cell 4: IngestError: <orders> is unreadable & more"
    record.step_ended("ingest", status, peak_rss_mb=250.0, error=error)
    if status == run_archive.SUCCEEDED:
        record.step_started("marts")
        record.step_ended("marts", status)
    record.record["tables"] = [TABLE]
    record.record["facts"] = facts
    record.end(status, error)
    return record


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """An archive with a run that failed in a notebook, one that succeeded, and one that was interrupted."""
    folder = tmp_path_factory.mktemp("archive")
    shop = Settings(data=folder / "data", runs=folder / "runs", _env_file=None)
    run(shop, Request(generate=False), Memory(), write_chain(folder / "nb", "writes_facts", "fails", "never=succeeds"))
    months = [{"month": f"2025-{m:02d}", "revenue": 1000.0 * m, "orders": m} for m in range(1, 13)]
    mix = [{"category": f"Category {n}", "revenue": 100.0 - n} for n in range(12)]
    for value in (100, 110):
        figures = [{"name": "Orders", "value": value, "unit": "orders"}]
        page.write_all(make(shop.runs, figures=figures, monthly=months, categories=mix).folder)
    page.write_all(make(shop.runs, run_archive.INTERRUPTED).folder)
    return shop.runs


def pages(archive: Path) -> list[Path]:
    return [path for path in sorted(archive.rglob("*.html")) if "latest" not in path.parts]


def test_a_page_loads_nothing_and_every_link_resolves(archive):
    # Four runs, three notebooks, the index, and one comparison.
    assert len(pages(archive)) == 9, pages(archive)
    for path in pages(archive):
        text = path.read_text("utf-8")
        assert "<script" not in text
        for link in Links(text).found:
            if link.startswith(("data:", "#")):
                continue
            assert not re.match(r"\w+:|//", link), (path, link)
            assert (path.parent / link).exists(), (path, link)


def test_the_page_of_a_failed_run_starts_with_the_error(archive):
    failed = next(r for r in run_archive.read_all(archive) if r["status"] == "failed")
    text = (archive / failed["run_id"] / "index.html").read_text("utf-8")
    assert text.index("the shelf is empty") < text.index("The chain")
    notebook = (archive / failed["run_id"] / "fails.html").read_text("utf-8")
    # The sentence, the cell with its error, and then the notebook.
    assert notebook.index("the shelf is empty") < notebook.index("The cell that failed") < notebook.index("<main")
    assert "raise" in notebook[notebook.index("The cell that failed") : notebook.index("<main")]
    assert f"make resume RUN={failed['run_id']}" in text


def test_an_image_in_the_page_of_a_notebook_has_alternative_text(tmp_path):
    record = make(tmp_path)
    drawn = {"output_type": "display_data", "data": {"image/png": "aGVsbG8="}}
    outputs = [drawn | {"metadata": {"image/png": {"alt": "Sales <grew>"}}}, drawn | {"metadata": {}}]
    cell = nbformat.v4.new_code_cell("show()", outputs=[nbformat.from_dict(output) for output in outputs])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), record.folder / "03_ingest.ipynb")
    text = page.write_step(record.folder, "03_ingest.ipynb").read_text("utf-8")
    missing = "No description has been provided for this image"
    assert re.findall(r'<img[^>]*?alt="([^"]*)"', text) == ["Sales &lt;grew&gt;", missing]


def test_a_page_shows_the_slowest_cells_and_queries_per_step(tmp_path):
    record = make(tmp_path)
    cells = [nbformat.v4.new_markdown_cell("## What came in?"), *(nbformat.v4.new_code_cell("1") for _ in range(5))]
    for cell, seconds in zip(cells[1:], (0.2, 3.5, 0.01, 1.25, 0.7), strict=True):
        cell.metadata["papermill"] = {"duration": seconds}
    nbformat.write(nbformat.v4.new_notebook(cells=cells), record.folder / "03_ingest.ipynb")
    nbformat.write(nbformat.v4.new_notebook(cells=cells[1:2]), record.folder / "06_marts.ipynb")
    results = [
        {"unique_id": "model.duckbook.dim_dates", "relation_name": '"w"."ecom_marts"."dim_dates"', "execution_time": 2},
        {"unique_id": "test.duckbook.dates_are_whole.a1b2", "relation_name": None, "execution_time": 1.5},
        {"unique_id": "model.duckbook.stg_orders", "relation_name": '"w"."ecom_staging"."x"', "execution_time": 9},
    ]
    (record.folder / "dbt").mkdir()
    (record.folder / "dbt" / "run_results.json").write_text(json.dumps({"results": results}), "utf-8")
    record.record["test_results"] = [{"step": "marts", "test": "dates_are_whole", "status": "passed", "failures": 0}]
    record.record["test_results"][0]["model"] = "dim_dates"
    record.save()
    ingest, marts = durations.slowest(record.folder, record.record)
    assert (ingest["name"], ingest["in_cells"], ingest["queries"]) == ("ingest", pytest.approx(5.66), [])
    assert ingest["cells"] == [(f"What came in?, cell {n}", s) for n, s in ((3, 3.5), (5, 1.25), (6, 0.7))]
    assert marts["cells"] == [("Set-up, cell 1", 0.2)]
    assert marts["queries"] == [("model dim_dates", 2), ("test dates_are_whole", 1.5)]
    text = page.write_run(record.folder).read_text("utf-8")
    assert "<b>3.5&nbsp;s</b> What came in?, cell 3" in text
    assert "<b>1.5&nbsp;s</b> test dates are whole" in text


def test_the_alternative_text_of_a_chart_is_escaped(tmp_path):
    record = make(tmp_path)
    metadata, data = (
        {"image/png": {"alt": "Bar chart: Books bring <most>."}},
        {"image/png": "aGVsbG8=", "text/plain": ""},
    )
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("plotting.show()", outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), record.folder / "03_ingest.ipynb")
    html = page.write_step(record.folder, "03_ingest.ipynb").read_text("utf-8")
    assert 'alt="Bar chart: Books bring &lt;most&gt;."' in html


def test_errors_are_escaped(tmp_path):
    text = page.write_run(make(tmp_path, run_archive.FAILED).folder).read_text("utf-8")
    assert "&lt;orders&gt; is unreadable &amp; more" in text
    assert "<orders>" not in text


def test_figures_have_a_definition_a_period_and_changes_and_are_escaped(tmp_path):
    figure = {
        "name": "Orders", "definition": "<b>all</b> of them", "unit": "orders", "value": 900, "period": "2026-06",
        "in_period": 110, "month_before": 100, "year_before": None,
    }  # fmt: skip
    mix = [{"category": "<img src=x onerror=alert(1)>", "revenue": 5.0}]
    record = make(tmp_path, figures=[figure], categories=mix)
    text = page.write_run(record.folder).read_text("utf-8")
    for expected in (
        "Orders, June 2026",
        ">110<",
        "+10.0% on May 2026",
        "June 2025 is not known",
        "&lt;b&gt;all&lt;/b&gt;",
    ):
        assert expected in text
    assert "<img" not in text


def test_a_failed_reconciliation_is_named_and_tests_add_up(tmp_path):
    record = make(tmp_path, run_archive.FAILED)
    totals = {"mart_total": 1135853.31, "staging_total": 1135686.78}
    record.record["reconciliation"] = [
        {"mart": "fct_a", "measure": "revenue", "equal": False} | totals,
        {"mart": "fct_a", "measure": "units", "mart_total": 3, "staging_total": 3, "equal": True},
    ]
    record.record["tests"] = {"passed": 45, "failed": 1, "warned": 2}
    record.save()
    text = page.write_run(record.folder).read_text("utf-8")
    headline = (
        "1 of 2 mart totals differ from staging: fct_a.revenue is 1,135,853.31 in the mart and 1,135,686.78 in staging"
    )
    assert f"<h2>{headline}</h2>" in text
    assert "<h2>Tests: 48 ran, 45 passed, 2 warned, 1 failed</h2>" in text


def test_a_run_without_tests_does_not_mention_them(tmp_path):
    text = page.write_run(make(tmp_path).folder).read_text("utf-8")
    assert "0 passed" not in text and "No tests" not in text and 'id="tests"' not in text


def test_a_page_shows_the_lineage_and_the_publication(tmp_path):
    record = make(tmp_path)
    lineage = [{"batch_id": f"b{n}", "size": 1000, "new": n == 0, "sha256": {"rows": "ab" * 32}} for n in range(3)]
    (record.folder / "facts" / "ingest").mkdir(parents=True)
    (record.folder / "facts" / "ingest" / "lineage.json").write_text(json.dumps(lineage))
    record.step_ended("ingest", run_archive.SUCCEEDED)
    marts = {"dim_dates": {"rows": 5, "sha256": "cd" * 32}}
    record.record["publication"] = {"name": "one", "as_of": "2026-06-30", "marts": marts}
    record.record["code"] = {"lib/duckbook/ingest": "ef" * 32}
    record.save()
    assert record.record["lineage"] | {"sha256": ""} == {
        "batches": 3, "bytes": 3000, "new": 1, "file": "facts/ingest/lineage.json", "sha256": "",
    }  # fmt: skip
    written = page.write_run(record.folder)
    text = written.read_text("utf-8")
    assert re.search(r"commit 0123456789ab; .*run.json.* has the SHA-256 of each notebook and folder", text)
    assert "cd" * 32 in text
    assert (written.parent / "facts/ingest/lineage.json").exists()
    assert 'href="facts/ingest/lineage.json">3</a>, 1 of them new' in text


def test_rows_that_do_not_add_up_are_in_the_headline(tmp_path):
    record = make(tmp_path)
    assert "every one is accounted for" in page.write_run(record.folder).read_text("utf-8")
    record.record["tables"] = [TABLE | {"staged": 14}]
    record.save()
    assert "Rows do not add up in orders" in page.write_run(record.folder).read_text("utf-8")


def test_a_run_that_only_began_has_a_page(tmp_path):
    started = Run.begin(tmp_path, target="duckdb", as_of=None, parameters={}, steps=[("one", "one.ipynb")])
    assert "Running" in page.write_run(started.folder).read_text("utf-8")
    page.write_index(tmp_path)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234, "orders", "1,234"),
        (1_250_000.0, "orders", "1.25M"),
        (99.5, "USD", "$99.50"),
        (2_500_000, "USD", "$2.5M"),
        (-5, "USD", "−$5.00"),
        (-250_000, "USD", "−$250k"),
        (None, "USD", "–"),
    ],
)
def test_figures_are_written_as_people_write_them(value, unit, text):
    assert page_charts.format_figure({"name": "x", "value": value, "unit": unit}) == text


def test_an_incomplete_month_is_pale():
    rows = [{"month": "2026-05", "revenue": 10.0}, {"month": "2026-06", "revenue": 5.0}]
    assert [bar["partial"] for bar in page_charts.months(rows, "2026-06-15")["bars"]] == [False, True]
    assert [bar["partial"] for bar in page_charts.months(rows, "2026-06-30")["bars"]] == [False, False]


def test_the_shares_of_a_mix_are_of_the_whole():
    bars = page_charts.mix([{"category": str(n), "revenue": 1.0} for n in range(20)], most=8)["bars"]
    assert (len(bars), bars[0]["shown"], bars[-1]["name"], bars[-1]["shown"]) == (9, "5.0%", "12 others", "60.0%")


def test_a_browser_shows_the_pages_without_error_request_or_sideways_scrolling(archive, chromium):
    for width, scheme in ((390, "dark"), (1280, "light")):
        tab = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        messages, urls = [], []
        tab.on("console", lambda message, messages=messages: messages.append(message.text))
        tab.on("pageerror", lambda error, messages=messages: messages.append(str(error)))
        tab.on("request", lambda request, urls=urls: urls.append(request.url))
        for path in pages(archive):
            tab.goto(path.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
        assert messages == []
        assert [url for url in urls if not url.startswith(("file:", "data:"))] == []


def test_a_month_whose_refunds_still_come_in_is_pale_and_not_the_best_and_is_not_compared(tmp_path):
    monthly = [
        {"month": month, "revenue": revenue, "is_settled": is_settled}
        for month, revenue, is_settled in (("2026-05", 10.0, True), ("2026-06", 99.0, False))
    ]
    figure = {
        "name": "Revenue", "definition": "kept", "unit": "USD", "value": 109.0, "period": "2026-06", "in_period": 99.0,
        "month_before": 10.0, "year_before": 5.0, "waits_for": {"refunds": 47},
    }  # fmt: skip
    text = page.write_run(make(tmp_path, figures=[figure], monthly=monthly).folder).read_text("utf-8")
    assert "The best month was 2026-05" in text and text.count('class="bar partial"') == 1
    assert "99% of the refunds within 47 days" in text and "on May 2026" not in text and "on June 2025" not in text
