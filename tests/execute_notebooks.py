"""Execute notebooks over one publication, in one process, and write down every sentence that they say.

A program for tests/conclusions.py: ``python execute_notebooks.py JOBS SAID``, with the data folder in the environment.
JOBS is a JSON list of ``{"notebook": path, "parameters": {…}}``. SAID becomes a list, in the same order, of
``{"titles": […], "texts": […], "tables": […], "error": sentence or null}``: titles of charts, Markdown that cells
displayed, and the HTML of tables.
"""

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import nbformat
from duckbook.analysis import plotting
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output


def execute(shell: InteractiveShell, notebook: Path, parameters: dict) -> dict:
    """Run the cells in order until one fails."""
    shell.reset(new_session=True)
    titles: list[str] = []
    texts: list[str] = []
    tables: list[str] = []
    draw = plotting.chart

    def chart(title, *arguments, **options):
        titles.append(title)
        return draw(title, *arguments, **options)

    plotting.chart = chart
    try:
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            is_parameters = "parameters" in cell.metadata.get("tags", [])
            given = "".join(f"{name} = {value!r}\n" for name, value in parameters.items()) if is_parameters else ""
            with capture_output() as shown:
                result = shell.run_cell(f"{cell.source}\n{given}")
            data = [output.data for output in shown.outputs]
            if result.success and result.result is not None and not cell.source.rstrip().endswith(";"):
                data.append(shell.display_formatter.format(result.result)[0])
            texts += [one["text/markdown"] for one in data if "text/markdown" in one]
            tables += [one["text/html"] for one in data if "<table" in one.get("text/html", "")]
            if not result.success:
                error = result.error_in_exec or result.error_before_exec
                told = f"{type(error).__name__}: {error} in cell {cell.id} {shown.stdout[-1500:] if not error else ''}"
                return {"titles": titles, "texts": texts, "tables": tables, "error": told}
    finally:
        plotting.chart = draw
        # A notebook that stopped half way has its connections open.
        if "book" in shell.user_ns:
            shell.user_ns["book"].release()
    return {"titles": titles, "texts": texts, "tables": tables, "error": None}


def main(jobs: Path, said: Path) -> None:
    """Run all jobs."""
    shell = InteractiveShell.instance()
    found = [execute(shell, Path(job["notebook"]), job["parameters"]) for job in json.loads(jobs.read_text("utf-8"))]
    said.write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
