"""The built wheel."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel of this checkout and return its path."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "source"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    copied = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for name in copied.decode().strip("\0").split("\0"):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    command = [UV, "build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"), str(clone)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return next((folder / "dist").glob("*.whl"))
