"""Filling the archive while a run goes on: notebooks as HTML, and dbt's artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path

from duckbook.files import write_private
from duckbook.redaction import Redactor
from duckbook.runs import run_archive
from duckbook.runs.background_call import Apart
from duckbook.runs.chain import Step
from duckbook.runs.fork_server import Zygote
from duckbook.runs.run_archive import Run
from duckbook.runs.watchdog import Witness

DBT_SECONDS = 120


class Archivist:
    """Brings into the archive, while later steps run, what a step leaves: its notebook as HTML, and dbt's artifacts.

    dbt's documentation needs the warehouse, so it is made when the last step that writes to it, or reads it, has ended;
    what follows reads the published marts. It is made by a process of its own, beside them.
    """

    def __init__(
        self,
        environment: dict[str, str],
        record: Run,
        steps: list[Step],
        witness: Witness,
        data: Path,
        zygote: Zygote | None = None,
    ):
        self.environment, self.record, self.witness, self.zygote = environment, record, witness, zygote
        self._transforms = [step.name for step in steps if step.group == "transform"]
        self._last = next((s.name for s in reversed(steps) if s.group in {"transform", "publish"}), None)
        self._dbt: Apart | None = None
        # Not in the archive: what dbt writes is looked through before it gets there.
        self._made = data / "tmp" / f"dbt-{record.folder.name}"

    def after_step(self, name: str) -> None:
        """A step ended."""
        from duckbook.runs import page

        if name == self._last:
            self._archive_dbt()
        step = self.record.step(name)
        if (self.record.folder / step["notebook"]).exists():
            page.write_step(self.record.folder, step["notebook"])

    def _archive_dbt(self) -> None:
        if self._dbt is None and any(self.record.step(name)["started_at"] for name in self._transforms):
            self._made.mkdir(mode=0o700, parents=True, exist_ok=True)
            told = self._made / "outcome.json"
            self._dbt = Apart(
                "duckbook.runs.archive_writer:write_dbt", str(self._made), told, self.environment, self.zygote
            )
            self.witness.watch(self._dbt.pid)

    def end(self, redactor: Redactor) -> None:
        """Wait for what is under way; a stopped run waits for nothing and leaves nothing running."""
        try:
            if self.record.record["status"] == run_archive.INTERRUPTED:
                if self._dbt is not None:
                    self._dbt.stop()
                return
            self._archive_dbt()
            if self._dbt is not None:
                self._take(redactor)
        finally:
            shutil.rmtree(self._made, ignore_errors=True)

    def _take(self, redactor: Redactor) -> None:
        if wrong := self._dbt.outcome(DBT_SECONDS):
            self.record.record["dbt_archive"] = redactor.text(wrong)
            self.record.save()
        folder = self.record.folder / "dbt"
        for file in sorted((self._made / "dbt").glob("*")):
            folder.mkdir(mode=0o700, exist_ok=True)
            write_private(folder / file.name, redactor.text(file.read_text("utf-8")))
        if redactor.hits:
            self.record.end(run_archive.FAILED, "A secret was on its way into dbt's artifacts and was replaced by ***.")


def write_dbt(folder: str) -> None:
    """Let dbt write its artifacts into a folder."""
    from duckbook.settings import settings
    from duckbook.transform import dbt_layers

    dbt_layers.archive(settings(), Path(folder))
