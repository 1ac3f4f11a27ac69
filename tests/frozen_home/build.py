"""Build the frozen home with the code of the frozen commit: ``python -m tests.frozen_home.build``.

The script exports that commit into a temporary folder and runs `driver.py` there. It replaces the
archive and the golden files beside this module. Rebuild them only to add something to the fixture:
never to make a test pass.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

COMMIT = "502ee50"
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GOLDEN = HERE / "golden"
ARCHIVE = HERE / "home.tar.xz"
LARGEST = 3_000_000  # bytes


def export(commit: str, folder: Path) -> None:
    """Write the files of a commit into a folder.

    Parameters
    ----------
    commit : str
        Hash of a commit of this repository.
    folder : Path
        Created when it is missing.

    Raises
    ------
    SystemExit
        When this repository does not have the commit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder.with_suffix(".tar")
    done = subprocess.run(
        ["git", "archive", "--output", str(tar), commit], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(
            f"commit {commit} is not in this repository ({done.stderr.strip()}); "
            "fetch its history first"
        )
    with tarfile.open(tar) as file:
        file.extractall(folder, filter="data")
    tar.unlink()


def run_driver(checkout: Path, work: Path) -> None:
    """Run the driver with the code of a checkout.

    It writes ``home``, ``golden`` and ``inputs`` below ``work``.
    """
    for name in ("golden", "inputs"):
        (work / name).mkdir()
    # The environment of whoever builds must not change the result.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RETENTION_", "SLACK_"))
    }
    environment = {
        **inherited,
        "PYTHONPATH": str(checkout),
        "FROZEN_CHECKOUT": str(checkout),
        "FROZEN_COMMIT": COMMIT,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    folders = [str(work / name) for name in ("home", "golden", "inputs")]
    subprocess.run(
        [sys.executable, "-P", str(HERE / "driver.py"), *folders],
        cwd=work,
        env=environment,
        check=True,
    )


def pack(work: Path) -> None:
    """Replace the archive and the golden files by those below ``work``."""
    if left := list((work / "home").glob("state.db-*")):
        raise SystemExit(f"the database was not closed: {left} is left")
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as file:
        for name in ("home", "inputs"):
            file.add(work / name, name, filter=_anonymous)
    shutil.rmtree(GOLDEN, ignore_errors=True)
    shutil.copytree(work / "golden", GOLDEN)
    if (size := ARCHIVE.stat().st_size) > LARGEST:
        raise SystemExit(f"{ARCHIVE} has {size:,} bytes; keep it below {LARGEST:,}")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The archive says nothing of who built it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main() -> None:
    """Build everything."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        export(COMMIT, work / "checkout")
        run_driver(work / "checkout", work)
        pack(work)
    print(f"{ARCHIVE.name}: {ARCHIVE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
