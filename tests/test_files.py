"""Atomic writes of private files."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from duckbook.files import write_private
write_private(Path(sys.argv[1]), "x" * int(sys.argv[2]))
"""


@pytest.mark.parametrize("size", [1_001, 5_000, 3_000_000])
def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path, size):
    """A limit on the size of a file accepts a part of a write and rejects the rest, like a full disk."""
    file = tmp_path / "run.json"
    file.write_text("old content")

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))

    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT, file, str(size)], preexec_fn=full, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert file.read_text() == "old content"


def test_a_file_is_written_whole_and_only_for_its_owner(tmp_path):
    file = tmp_path / "run.json"
    subprocess.run([sys.executable, "-c", SCRIPT, file, "3000000"], check=True)
    assert (file.stat().st_size, file.stat().st_mode & 0o777) == (3_000_000, 0o600)
