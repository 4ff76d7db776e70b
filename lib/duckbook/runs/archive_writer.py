"""Fill the archive of a run while it goes on: notebooks as HTML, and dbt's artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path

from duckbook.files import write_private
from duckbook.redaction import Redactor
from duckbook.runs import run_archive
from duckbook.runs.background_call import BackgroundCall
from duckbook.runs.chain import Step
from duckbook.runs.fork_server import ForkServer
from duckbook.runs.run_archive import Run
from duckbook.runs.watchdog import Watchdog

DBT_SECONDS = 120


class ArchiveWriter:
    """Archives each ended step while later steps run: its notebook as HTML, and dbt's artifacts.

    dbt's documentation reads the warehouse, so it is built when the last step that uses the warehouse has ended. Later
    steps read the published marts, and run next to the process that builds it.
    """

    def __init__(
        self,
        environment: dict[str, str],
        run: Run,
        steps: list[Step],
        watchdog: Watchdog,
        data: Path,
        fork_server: ForkServer | None = None,
    ):
        self.environment, self.run, self.watchdog, self.fork_server = environment, run, watchdog, fork_server
        self._transform_steps = [step.name for step in steps if step.group == "transform"]
        self._last_warehouse_step = next(
            (step.name for step in reversed(steps) if step.group in {"transform", "publish"}), None
        )
        self._dbt_call: BackgroundCall | None = None
        # Outside the archive until secrets are redacted.
        self._temporary = data / "tmp" / f"dbt-{run.folder.name}"

    def after_step(self, name: str) -> None:
        """Archive what an ended step left."""
        from duckbook.runs import page

        if name == self._last_warehouse_step:
            self._start_dbt()
        step = self.run.step(name)
        if (self.run.folder / step["notebook"]).exists():
            page.write_step(self.run.folder, step["notebook"])

    def _start_dbt(self) -> None:
        if self._dbt_call is None and any(self.run.step(name)["started_at"] for name in self._transform_steps):
            self._temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dbt_call = BackgroundCall(
                "duckbook.runs.archive_writer:write_dbt",
                str(self._temporary),
                self._temporary / "outcome.json",
                self.environment,
                self.fork_server,
            )
            self.watchdog.watch(self._dbt_call.pid)

    def end(self, redactor: Redactor) -> None:
        """Wait for dbt's artifacts and archive them, or stop dbt if the run was interrupted."""
        try:
            if self.run.record["status"] == run_archive.INTERRUPTED:
                if self._dbt_call is not None:
                    self._dbt_call.stop()
                return
            self._start_dbt()
            if self._dbt_call is not None:
                self._archive_dbt(redactor)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _archive_dbt(self, redactor: Redactor) -> None:
        if error := self._dbt_call.error(DBT_SECONDS):
            self.run.record["dbt_archive"] = redactor.text(error)
            self.run.save()
        folder = self.run.folder / "dbt"
        for file in sorted((self._temporary / "dbt").glob("*")):
            folder.mkdir(mode=0o700, exist_ok=True)
            write_private(folder / file.name, redactor.text(file.read_text("utf-8")))
        if redactor.hits:
            self.run.end(run_archive.FAILED, "A secret was found in dbt's artifacts and was replaced by ***.")


def write_dbt(folder: str) -> None:
    """Write dbt's artifacts into a folder."""
    from duckbook.settings import settings
    from duckbook.transform import dbt_layers

    dbt_layers.archive(settings(), Path(folder))
