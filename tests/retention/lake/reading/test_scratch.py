"""What an import unpacks is customers' data: none of it outlives the import for long."""

import signal
import subprocess
import sys

import pytest

from retention.lake.reading.scratch import scratch

KILLED = """
import os, signal
from retention.lake.reading.scratch import scratch
with scratch() as folder:
    (folder / "rows.csv").write_text("ann@example.com")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_what_a_killed_import_left_goes_with_the_next_one(temporary):
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -signal.SIGKILL
    assert [path.name for path in temporary.glob("*/*.csv")] == ["rows.csv"]
    with scratch() as folder:
        assert list(temporary.iterdir()) == [folder]
    assert not list(temporary.iterdir())


def test_what_another_import_uses_stays(temporary):
    with scratch() as other:
        (other / "rows.csv").touch()
        with scratch() as mine:
            assert set(temporary.iterdir()) == {mine, other}
        assert (other / "rows.csv").exists()
