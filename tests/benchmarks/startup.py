"""``make demo`` from a clone to the first usable page, and once more."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.benchmarks.measure import FOLDER, Figure, alone

ROOT = Path(__file__).resolve().parents[2]
LOG = FOLDER / "demo.log"
PATIENCE = 900.0
SECOND_START = 15.0


def demo() -> dict[str, Figure]:
    """Start the commit at hand, cloned into an empty folder.

    Packages come from the cache, if it is warm.
    """
    clone = FOLDER / "clone"
    LOG.unlink(missing_ok=True)
    shutil.rmtree(clone, ignore_errors=True)
    began = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    first = _start(clone) - began
    began = time.perf_counter()
    second = _start(clone) - began
    shutil.rmtree(clone, ignore_errors=True)
    return {
        "demo_first_start": alone(first, "s"),
        "demo_second_start": alone(second, "s", most=SECOND_START),
    }


def _start(clone: Path) -> float:
    """Run it until its page answers, stop it, and say when that was."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours = (
        "RETENTION_",
        "SLACK_",
        "VIRTUAL_ENV",
        "MAKE",
        "PYTHON",
    )  # a fresh machine has none of these
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with LOG.open("ab") as log:
        process = subprocess.Popen(
            ["make", "demo", f"PYTHON={Path(sys.base_prefix) / 'bin' / 'python3'}"],
            cwd=clone,
            stdout=log,
            stderr=log,
            env={**environment, "RETENTION_PLAYGROUND_PORT": str(port)},
            start_new_session=True,
        )
    try:
        return _usable(f"http://127.0.0.1:{port}", process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _usable(url: str, process: subprocess.Popen) -> float:
    """Return when the page's address was printed, and check that the page answers.

    It may say that the data is still loading.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        if url in LOG.read_text(errors="replace"):
            at = time.perf_counter()
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
            return at
        time.sleep(0.05)
    raise RuntimeError(f"make demo showed no page; see {LOG}")
