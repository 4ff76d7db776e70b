"""The HTML pages of the archive: one per run, one for all runs, and one per executed notebook.

Pages are made from ``run.json`` and can be made again at any time. They are self-contained: no scripts, fonts or
images from elsewhere.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duckbook.analysis import headlines, page_charts
from duckbook.backends import clock
from duckbook.files import write_private
from duckbook.runs import comparison, durations, facts, run_archive
from duckbook.transform import reconciliation

if TYPE_CHECKING:
    from nbconvert import HTMLExporter

TEMPLATES = Path(__file__).parent / "templates"

MARKS = {
    run_archive.SUCCEEDED: "✓",
    run_archive.FAILED: "✗",
    run_archive.INTERRUPTED: "■",
    run_archive.SKIPPED: "–",
    run_archive.RUNNING: "…",
    run_archive.WAITING: "·",
}


def write_all(folder: Path) -> None:
    """Write all pages of an ended run: missing notebook pages, comparison, run page, and the index of runs."""
    for step in run_archive.read(folder)["steps"]:
        notebook = folder / step["notebook"]
        page = notebook.with_suffix(".html")
        if notebook.exists() and not (page.exists() and page.stat().st_mtime > notebook.stat().st_mtime):
            with contextlib.suppress(ValueError):  # killed before papermill wrote the notebook
                write_step(folder, step["notebook"])
    write_comparison(folder)
    write_run(folder)
    write_index(folder.parent)


def write_comparison(folder: Path) -> Path | None:
    """Write ``compare.html``, which compares the run with the previous one; return its path, or None."""
    record = run_archive.read(folder)
    before = _previous(folder.parent, record)
    if not before:
        return None
    page = folder / "compare.html"
    sections = comparison.compare(before, record)
    equal = [section.title.lower() for section in sections if not section.rows]
    write_private(page, _render("compare.html.j2", old=before, new=record, sections=sections, equal=equal))
    return page


def write_run(folder: Path) -> Path:
    """Write ``index.html`` of a run, and return its path."""
    record = run_archive.read(folder)
    page = folder / "index.html"
    write_private(page, _render("run.html.j2", **_run_context(folder, record)))
    return page


def write_index(archive: Path) -> Path:
    """Write ``index.html`` of all runs, and return its path."""
    rows = []
    for record in run_archive.read_all(archive):
        figures = {
            figure["name"]: page_charts.format_figure(figure) for figure in record.get("facts", {}).get("figures", [])
        }
        rows.append(
            record
            | {
                "mark": MARKS[record["status"]],
                "kind": run_archive.kind(record),
                "store": record.get("store") or "",
                "landed": sum(row.get("landed") or 0 for row in record["tables"]) if record["tables"] else None,
                "orders": figures.get("Orders", ""),
                "revenue": figures.get("Revenue", ""),
                "comparison": (archive / record["run_id"] / "compare.html").exists(),
            }
        )
    page = archive / "index.html"
    succeeded = sum(row["status"] == run_archive.SUCCEEDED for row in rows)
    write_private(page, _render("index.html.j2", runs=rows, succeeded=succeeded))
    return page


def write_step(folder: Path, notebook: str) -> Path:
    """Write the page of an executed notebook, which starts with the error and the failing cell if it failed."""
    import nbformat
    from markupsafe import Markup

    source = folder / notebook
    errors = {step["notebook"]: step.get("error") for step in run_archive.read(folder)["steps"]}
    executed = nbformat.read(source, as_version=4)
    failed = [cell for cell in executed.cells if cell.metadata.get("papermill", {}).get("status") == "failed"]
    failing = [nbformat.v4.new_notebook(metadata=executed.metadata, cells=[cell]) for cell in failed[:1]]
    body, *cell = (Markup(_exporter().from_notebook_node(part)[0]) for part in (executed, *failing))
    page = source.with_suffix(".html")
    context = {"name": source.stem, "error": errors.get(notebook), "pygments": _pygments()}
    write_private(page, _render("notebook.html.j2", body=body, failing=next(iter(cell), None), **context))
    return page


@lru_cache(maxsize=1)
def _exporter() -> HTMLExporter:
    """Exporter of a notebook's cells, without the page in which nbconvert loads scripts."""
    from nbconvert import HTMLExporter

    exclude = {f"exclude_{part}": True for part in ("input_prompt", "output_prompt", "anchor_links", "raw")}
    return HTMLExporter(template_name="basic", **exclude)


@lru_cache(maxsize=1)
def _pygments() -> str:
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    plain = ".notebook .highlight { background: var(--ground); color: var(--ink); }"
    return f"{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n{plain}"


@lru_cache(maxsize=1)
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"count": _count, "number": page_charts.number, "duration": _duration, "moment": _moment}
    # Compile all templates at the first page, while steps run, so that the last pages do not wait for it.
    for name in environment.list_templates(filter_func=lambda name: name.endswith(".html.j2")):
        environment.get_template(name)
    return environment


def _render(template: str, **context: Any) -> str:
    from markupsafe import Markup

    css = Markup((TEMPLATES / "style.css").read_text("utf-8"))
    return str(_environment().get_template(template).render(css=css, **context))


def _run_context(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    reported = record.get("facts", {})
    before = _previous(folder.parent, record)
    tests = record["tests"]
    classes = {facts.PASSED: "good", facts.WARNED: "interrupted", facts.FAILED: "bad"}
    results = [row | {"class": classes[row["status"]]} for row in record.get("test_results", [])]
    differing = [row for row in record["reconciliation"] if not row["equal"]]
    marts = len({row["mart"] for row in record["reconciliation"]})
    docs = sorted((folder / "dbt").glob("*.html"))
    steps = [_step(folder, record, step) for step in record["steps"]]
    failing = (step["html"] for step in steps if _is_broken(step) and step["html"])
    return {
        "run": {"git": {}, "versions": {}, "code": {}, "resumed": [], "readers": None, "not_told": None} | record,
        "headline": _headline(record),
        "figures": headlines.cards(reported.get("figures", [])),
        "figures_note": headlines.note(reported.get("figures", [])),
        "monthly": page_charts.months(reported.get("monthly", []), record["as_of"]),
        "mix": page_charts.mix(reported.get("categories", [])),
        "steps": steps,
        "durations": durations.slowest(folder, record),
        "failing": next(failing, None),
        "tables": _tables(record["tables"]),
        "rows_headline": _rows_headline(_tables(record["tables"])),
        "flows": facts.FLOWS,
        "stocks": facts.STOCKS,
        "differing": differing,
        "marts_headline": (
            f"{len(differing)} of {len(record['reconciliation'])} mart totals differ from staging: "
            f"{reconciliation.differences(differing)}"
            if differing
            else f"All {len(record['reconciliation'])} totals of {marts} marts equal staging, to the cent"
        ),
        "tests_headline": f"Tests: {facts.tests_line(tests)}" if any(tests.values()) else None,
        "not_passed": sorted((row for row in results if row["class"] != "good"), key=lambda row: row["class"]),
        "passed": [row for row in results if row["class"] == "good"],
        "dbt_docs": f"dbt/{docs[0].name}" if docs else None,
        "comparison": "compare.html" if (folder / "compare.html").exists() else None,
        "before": before,
        "lineage": record.get("lineage"),
        "publication": record.get("publication"),
    }


def _is_broken(step: dict[str, Any]) -> bool:
    return step["status"] in {run_archive.FAILED, run_archive.INTERRUPTED}


def _headline(record: dict[str, Any]) -> str:
    steps = record["steps"]
    broken = [step["name"] for step in steps if _is_broken(step)]
    if record["status"] == run_archive.SUCCEEDED:
        new = sum(row.get("appended") or 0 for row in record["tables"])
        rows = f", {new:,} new rows" if new else ", no new rows" if record["tables"] else ""
        skipped = sum(step["status"] == run_archive.SKIPPED for step in steps)
        if skipped:
            return f"{len(steps) - skipped} of {len(steps)} steps succeeded, and {skipped} had too few data{rows}"
        return f"{f'All {len(steps)} steps' if len(steps) > 1 else 'The step'} succeeded{rows}"
    if record["status"] == run_archive.RUNNING:
        running = [step["name"] for step in steps if step["status"] == run_archive.RUNNING]
        return f"Running: {', '.join(running) or 'starting'}"
    how = "was interrupted" if record["status"] == run_archive.INTERRUPTED else record["status"]
    return f"The run {how}" + (f" in step {broken[0]}" if broken else "")


def _step(folder: Path, record: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    notebook = Path(step["notebook"])
    total = max(run_archive.seconds_between(record["started_at"], record["ended_at"] or clock.now()), 0.001)
    left = width = 0.0
    if step["started_at"]:
        left = 100 * run_archive.seconds_between(record["started_at"], step["started_at"]) / total
        ended = step["ended_at"] or clock.now()
        width = 100 * run_archive.seconds_between(step["started_at"], ended) / total
    return step | {
        "mark": MARKS[step["status"]],
        "left": round(left, 2),
        "width": round(width, 2),
        "html": notebook.with_suffix(".html").name if (folder / notebook.with_suffix(".html")).exists() else None,
        "ipynb": notebook.name if (folder / notebook).exists() else None,
    }


def _tables(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    columns = (*facts.FLOWS, *facts.STOCKS)
    tables = [{"total": False} | dict.fromkeys(columns) | row for row in rows]
    known = {name: [int(value) for row in tables if (value := row[name]) is not None] for name in columns}
    totals = {name: sum(values) if values else None for name, values in known.items()}
    tables.append({"table": "all", "total": True} | totals)
    for row in tables:
        row["adds_up"] = all(
            row[total] is None or row[total] == sum(int(row[part] or 0) for part in parts)
            for total, *parts in (facts.FLOWS, facts.STOCKS)
        )
    return tables


def _rows_headline(tables: list[dict[str, Any]]) -> str:
    wrong = [row["table"] for row in tables if not row["adds_up"] and not row["total"]]
    if wrong:
        return f"Rows do not add up in {', '.join(wrong)}"
    total = tables[-1]
    if not total["landed"]:
        return "Nothing new landed, and every row is accounted for"
    return f"{total['landed']:,} rows landed, {total['appended'] or 0:,} of them new, and every one is accounted for"


def _previous(archive: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The newest run before this one that succeeded with the same data folder and target."""
    for other in run_archive.read_all(archive):
        is_comparable = all(other.get(key) == record.get(key) for key in ("target", "store")) and other.get("facts")
        if other["run_id"] < record["run_id"] and is_comparable and other["status"] == run_archive.SUCCEEDED:
            return other
    return {}


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f} min {rest:.0f} s" if minutes else f"{rest:.1f} s"


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M")
