"""``make demo`` from a clone to the first usable page, and once more."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.benchmarks.measure import FOLDER, Figure, alone

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 900.0
SECOND_START = 15.0


def demo() -> dict[str, Figure]:
    """The commit at hand, cloned into an empty folder; packages come from the cache, if it is warm."""
    clone = FOLDER / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    began = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    first = _start(clone) - began
    began = time.perf_counter()
    second = _start(clone) - began
    shutil.rmtree(clone, ignore_errors=True)
    return {"demo_first_start": alone(first, "s"), "demo_second_start": alone(second, "s", most=SECOND_START)}


def _start(clone: Path) -> float:
    """Run it until its page answers, stop it, and say when that was."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept = (
        "PATH",
        "HOME",
        "LANG",
        "UV_CACHE_DIR",
        "PIP_INDEX_URL",
        "UV_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "SSL_CERT_FILE",
    )
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    log = (FOLDER / "demo.log").open("ab")
    process = subprocess.Popen(
        ["make", "demo", f"PYTHON={Path(sys.base_prefix) / 'bin' / 'python3'}"], cwd=clone, stdout=log, stderr=log,
        env={**environment, "RETENTION_PLAYGROUND_PORT": str(port)}, start_new_session=True,
    )  # fmt: skip
    try:
        return _usable(f"http://127.0.0.1:{port}/", process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        log.close()


def _usable(url: str, process: subprocess.Popen) -> float:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return time.perf_counter()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"make demo showed no page; see {FOLDER / 'demo.log'}")
