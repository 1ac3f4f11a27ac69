"""The Celery app and its settings. Importing this loads no modelling library, and no Celery until it is made.

The settings are those that lost nothing when workers, broker and database were killed (docs/delivery.md).
"""

from functools import cache
from typing import TYPE_CHECKING

from retention.settings import Settings
from workers import broker

if TYPE_CHECKING:
    from celery import Celery

RUN_JOB = "workers.run_job"
QUEUES = ("interactive", "batch")
HARD_LIMIT = 900  # seconds, of the longest task
SOFT_LIMIT = HARD_LIMIT - 30  # an exception in the task, early enough for the person to hear of it


def make_app(settings: Settings) -> "Celery":
    """The Celery app of this installation (one for each broker and process)."""
    return _app(broker.url(settings))


@cache
def _app(url: str) -> "Celery":
    from celery import Celery

    app = Celery("retention", broker=url, set_as_current=False)
    app.conf.update(
        # At least once, and the job row decides: a message is acknowledged when its job is over.
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
            "visibility_timeout": 2 * HARD_LIMIT,
            "unacked_restore_interval": 15,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 1,  # publishing must not eat the three seconds a person waits
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
