"""Fill the archive of a run while it goes on: notebooks as HTML, and dbt's artifacts."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from duckbook.files import write_private
from duckbook.redaction import Redactor
from duckbook.runs import run_archive
from duckbook.runs.chain import Step
from duckbook.runs.run_archive import Run
from duckbook.runs.watchdog import Watchdog

DBT_SECONDS = 120


class ArchiveWriter:
    """Archives each ended step while later steps run: its notebook as HTML, and dbt's artifacts.

    dbt's documentation reads the warehouse, so a process builds it when the last step that uses the warehouse has
    ended. Later steps read the published marts, and run next to it.
    """

    def __init__(self, environment: dict[str, str], run: Run, steps: list[Step], watchdog: Watchdog, data: Path):
        self.environment, self.run, self.watchdog = environment, run, watchdog
        self._transform_steps = [step.name for step in steps if step.group == "transform"]
        self._last_warehouse_step = next(
            (step.name for step in reversed(steps) if step.group in {"transform", "publish"}), None
        )
        self._dbt: subprocess.Popen[str] | None = None
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
        if self._dbt is None and any(self.run.step(name)["started_at"] for name in self._transform_steps):
            self._temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._dbt = subprocess.Popen(
                [sys.executable, "-P", "-m", "duckbook.runs.archive_writer", str(self._temporary)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
            self.watchdog.watch(self._dbt.pid)

    def end(self, redactor: Redactor) -> None:
        """Wait for dbt's artifacts and archive them, or stop dbt if the run was interrupted."""
        try:
            if self.run.record["status"] != run_archive.INTERRUPTED:
                self._start_dbt()
                if self._dbt is not None:
                    self._archive_dbt(self._dbt, redactor)
        finally:
            if self._dbt is not None and self._dbt.poll() is None:
                with contextlib.suppress(OSError):
                    os.killpg(self._dbt.pid, signal.SIGKILL)
                self._dbt.communicate()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _archive_dbt(self, dbt: subprocess.Popen[str], redactor: Redactor) -> None:
        try:
            error, _ = dbt.communicate(timeout=DBT_SECONDS)
            error = (error.strip() or "It was killed.") if dbt.returncode else ""
        except subprocess.TimeoutExpired:
            error = f"It did not end in {DBT_SECONDS} s and was stopped."
        if error:
            self.run.record["dbt_archive"] = redactor.text(error)
            self.run.save()
        folder = self.run.folder / "dbt"
        for file in sorted((self._temporary / "dbt").glob("*")):
            folder.mkdir(mode=0o700, exist_ok=True)
            write_private(folder / file.name, redactor.text(file.read_text("utf-8")))
        if redactor.hits:
            self.run.end(run_archive.FAILED, "A secret was found in dbt's artifacts and was replaced by ***.")


def main() -> None:
    """Write dbt's artifacts into a folder, and print why that failed."""
    from duckbook.settings import settings
    from duckbook.transform import dbt_layers

    try:
        dbt_layers.archive(settings(), Path(sys.argv[1]))
    except Exception as error:
        print(str(error) or type(error).__name__)
        sys.exit(1)


if __name__ == "__main__":
    main()
