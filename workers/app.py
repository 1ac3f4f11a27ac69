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
# A third of the share of other processes. At 10 (a tenth) a training of 80 CPU seconds takes hours
# on a busy machine.
TRAINING_NICENESS = 5
MOST_TRAINING_THREADS = 4
# A thread that waits for others sleeps. On a busy machine threads that spin make boosting ten times
# slower.
WAITING = {"OMP_WAIT_POLICY": "passive"}
_THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def training_seconds(settings: Settings) -> tuple[int, int]:
    """Return a training's limits of CPU time, over all threads, and of wall time.

    The heartbeat enforces both. The second ends a process that hangs without using the CPU.
    """
    cpu = 60 * settings.training_minutes
    return cpu, 4 * cpu


def time_limits(settings: Settings, queue: str) -> dict[str, int]:
    """Return Celery's time limits for a queue.

    The soft one raises an exception in the task, early enough to report the failure.
    """
    if queue != TRAINING:
        limit = 60 * settings.job_minutes
        return {"time_limit": limit, "soft_time_limit": limit - 30}
    # Later than the heartbeat's limit. They end a process whose heartbeat cannot act.
    _, wall = training_seconds(settings)
    return {"time_limit": wall + 60, "soft_time_limit": wall + 30}


def training_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that limit the threads of training.

    By default at least half of the cores stay free for other processes. Variables that the operator
    has set keep their value.
    """
    usual = max(1, min(MOST_TRAINING_THREADS, (os.cpu_count() or 1) // 2))
    threads = settings.training_threads or usual
    wanted = dict.fromkeys(_THREAD_SETTINGS, str(threads)) | WAITING
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def make_app(settings: Settings) -> "Celery":
    """Return the Celery app of this installation. There is one app per broker and process."""
    usual, training = (time_limits(settings, queue) for queue in ("batch", TRAINING))
    # Longer than any job, because a running job's message would be delivered again after it.
    visible = 2 * max(usual["time_limit"], training["time_limit"])
    return _app(broker.url(settings), *usual.values(), visible)


@cache
def _app(url: str, time_limit: int, soft_time_limit: int, visible: int) -> "Celery":
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
        task_time_limit=time_limit,
        task_soft_time_limit=soft_time_limit,
        task_default_queue="batch",
        task_create_missing_queues=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": visible,
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
