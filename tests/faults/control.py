"""``python -m tests.faults.control [INJECTIONS] [SEED]``: the same faults over plain Celery.

It has Valkey, a worker and Slack as the desk has, but no lease and no look into the channel before
a post is repeated. A harness that counts nothing here would count nothing anywhere. So the exit
code is 1 unless it counts losses and doubles.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from retention.settings import Settings
from tests.faults import plain_celery
from tests.faults.frame import ROOT, Counts, verdict
from tests.standins.slack import StandIn
from tests.workers.harness import wait
from workers.queue import broker

COMMAND = [sys.executable, "-m", "celery", "--app", "tests.faults.plain_celery", "worker"]
OPTIONS = ["--concurrency=2", "--loglevel=ERROR", "--without-gossip", "--without-mingle"]
TASKS = plain_celery.answer, plain_celery.answer_late
SETTLING = 12.0  # seconds without a new post: longer than the time until a repetition


class Worker:
    """A worker that can be killed and started again."""

    def __init__(self) -> None:
        self.process = self._started()

    @staticmethod
    def _started() -> subprocess.Popen[bytes]:
        return subprocess.Popen([*COMMAND, *OPTIONS], cwd=ROOT, stdout=subprocess.DEVNULL)

    def kill_child(self) -> bool:
        """Kill the processes of tasks."""
        children = psutil.Process(self.process.pid).children()
        for child in children:
            child.kill()
        return bool(children)

    def kill(self) -> bool:
        """Kill it with its tasks, and start another one."""
        for process in (*psutil.Process(self.process.pid).children(), self.process):
            process.kill()
        self.process.wait()
        self.process = self._started()
        return True

    def stop(self) -> None:
        """Stop it for good."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def plain_desk() -> Iterator[tuple[StandIn, Worker]]:
    """Run Valkey, Slack and a worker of plain Celery."""
    with (
        tempfile.TemporaryDirectory(prefix="control") as home,
        StandIn.start(strict=False) as slack,
    ):
        slack.slack.web_api.hang_seconds = 2.0 * plain_celery.PATIENCE
        settings = Settings(home=Path(home), _env_file=None)
        begun = {"PLAIN_BEGUN": f"{home}/begun"}
        os.environ.update({**slack.environment, "PLAIN_BROKER": broker.url(settings), **begun})
        plain_celery.app.conf.broker_url = broker.url(settings)
        valkey = subprocess.Popen(broker.command(settings), stdout=subprocess.DEVNULL)
        try:
            wait(lambda: broker.is_reachable(settings))
            worker = Worker()
            try:
                yield slack, worker
            finally:
                worker.stop()
        finally:
            valkey.kill()
            valkey.wait()


def count(injections: int, seed: int) -> Counts:
    """Break something so many times while tasks are sent, and count their posts."""
    chance, counts, number = random.Random(seed), Counts(), 0
    with plain_desk() as (slack, worker):
        faults: list[Callable[[], object]] = [
            worker.kill_child,
            worker.kill,
            lambda: slack.fault("timeout_after_accept", 1, "chat.postMessage"),
        ]
        for injection in range(injections):
            begun = Path(os.environ["PLAIN_BEGUN"])
            begun.unlink(missing_ok=True)
            for task in TASKS:
                number += 1
                task.delay(number)
            wait(begun.exists, 120)
            time.sleep(chance.uniform(0, 2 * plain_celery.WORK_SECONDS))
            counts.inject(hit=bool(faults[injection % len(faults)]()))
        wait(lambda: _is_quiet(slack), 300)
        posts = Counter(message["text"] for message in slack.messages("crm"))
    for each in range(1, number + 1):
        counts.expect_once(posts[f"result of {each}"], f"result of {each}")
    return counts


def _is_quiet(slack: StandIn) -> bool:
    before = len(slack.messages("crm"))
    time.sleep(SETTLING)
    return len(slack.messages("crm")) == before


def main(injections: str = "24", seed: str = "1") -> int:
    """Count, and tell whether it counted what it must."""
    counts = count(int(injections), int(seed))
    print(f"plain Celery: {verdict(counts)}")
    return int(not (counts.lost and counts.doubled))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
