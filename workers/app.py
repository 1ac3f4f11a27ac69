"""Make the Celery app and hold its limits.

Importing this module loads neither Celery nor a modelling library. With these settings no job was
lost when workers, broker and database were killed (docs/contributor/delivery.md).
"""

import os
from functools import cache
from typing import TYPE_CHECKING

from retention.settings import Settings
from workers.queue import broker

if TYPE_CHECKING:
    from celery import Celery

RUN_JOB = "workers.run_job"
TRAINING = "training"  # this queue is limited by CPU time and never delays the other queues
INTERACTIVE = "interactive"
QUEUES = (INTERACTIVE, "batch", TRAINING)
HARD_LIMIT = 900  # seconds of wall time for a job of any other queue
SOFT_LIMIT = HARD_LIMIT - 30  # raises an exception in the task, early enough to report the failure
# The heartbeat enforces both training limits. CPU time counts all threads of the process.
TRAINING_CPU_LIMIT = 3600  # seconds
TRAINING_WALL_LIMIT = 4 * 3600  # seconds; ends a process that hangs without using the CPU
# A third of the share of other processes. At 10 (a tenth) a training of 80 CPU seconds takes hours
# on a busy machine.
TRAINING_NICENESS = 5
MOST_TRAINING_THREADS = 4
# Longer than any job, because a running job's message would be delivered again after it.
VISIBILITY_TIMEOUT = 2 * TRAINING_WALL_LIMIT
# A thread that waits for others sleeps. On a busy machine threads that spin make boosting ten times
# slower.
WAITING = {"OMP_WAIT_POLICY": "passive"}
_THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def time_limits(queue: str) -> dict[str, int]:
    """Return Celery's time limits for a queue."""
    if queue != TRAINING:
        return {"time_limit": HARD_LIMIT, "soft_time_limit": SOFT_LIMIT}
    # Later than the heartbeat's limit. They end a process whose heartbeat cannot act.
    return {"time_limit": TRAINING_WALL_LIMIT + 60, "soft_time_limit": TRAINING_WALL_LIMIT + 30}


def training_environment() -> dict[str, str]:
    """Return the variables that limit the threads of training.

    At least half of the cores stay free for other processes. Variables that the operator has set
    keep their value.
    """
    threads = max(1, min(MOST_TRAINING_THREADS, (os.cpu_count() or 1) // 2))
    wanted = dict.fromkeys(_THREAD_SETTINGS, str(threads)) | WAITING
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def make_app(settings: Settings) -> "Celery":
    """Return the Celery app of this installation. There is one app per broker and process."""
    return _app(broker.url(settings))


@cache
def _app(url: str) -> "Celery":
    from celery import Celery

    app = Celery("retention", broker=url, set_as_current=False)
    app.conf.update(
        # A message is acknowledged when its job has ended. A second delivery finds the job claimed.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # True lost the running task
        # Results live in the job row.
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_time_limit=HARD_LIMIT,
        task_soft_time_limit=SOFT_LIMIT,
        task_default_queue="batch",
        task_create_missing_queues=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT,
            "unacked_restore_interval": 15,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 1,  # Slack waits three seconds for an answer
            "socket_keepalive": True,
            "global_keyprefix": broker.PREFIX,
        },
        task_publish_retry=True,
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0,
            "interval_max": 0,
        },
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_pool_limit=4,
        timezone="UTC",
    )
    return app
