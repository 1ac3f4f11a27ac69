"""The control's desk: tasks of plain Celery that post their own result, as a first version would.

There is no job row, no lease and no outbox. ``answer`` has Celery's defaults: a killed task is
gone. ``answer_late`` is acknowledged after its end: a killed task runs again, and posts again. Both
repeat a post whose answer was lost.
"""

import os
import time
from pathlib import Path

from celery import Celery
from slack_sdk import WebClient

WORK_SECONDS = 0.2  # before the post and after it
PATIENCE = 1  # seconds for an answer of Slack

app = Celery("plain", broker=os.environ.get("PLAIN_BROKER", ""))
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 5, "unacked_restore_interval": 1},
)
_RETRIES = {"autoretry_for": (Exception,), "max_retries": 5, "default_retry_delay": 0}


@app.task(**_RETRIES)
def answer(number: int) -> None:
    """Work, post the result, and note it."""
    _answer(number)


@app.task(acks_late=True, reject_on_worker_lost=True, **_RETRIES)
def answer_late(number: int) -> None:
    """Do the same, and acknowledge it in the end."""
    _answer(number)


def _answer(number: int) -> None:
    Path(os.environ["PLAIN_BEGUN"]).touch()
    time.sleep(WORK_SECONDS)
    web = WebClient(
        os.environ["SLACK_BOT_TOKEN"],
        base_url=os.environ["SLACK_API_URL"],
        timeout=PATIENCE,
        retry_handlers=[],
    )
    web.chat_postMessage(channel="C0CRM", text=f"result of {number}")
    time.sleep(WORK_SECONDS)
