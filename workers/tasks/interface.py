"""Define the input and the output of a task.

A task module ``workers/tasks/<subject>/<kind>.py`` has one function::

    def run(request: Sweep, context: Context) -> Outcome: ...

Small tasks of one subject share a module, see `workers.tasks.runner.SHARED`.

The runner imports it in the process that runs the job, so the Celery parent never loads a model.
It reports progress. What it writes to SQL goes into ``Outcome.apply``, which the one fenced
transaction at the end of the job runs together with the outbox rows. A task that talks to other
systems meanwhile, such as `campaign_deliver`, commits its own steps, each of which can be repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from retention.db import Database, Transaction
from retention.progress import Progress, silent
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The data that a task may use.

    ``run_id`` (job and attempt) marks its rows in the lake, which ``Outcome.runs`` publishes.
    ``channel`` is the destination of the result: a channel id, a user id (direct message) or None
    (the terminal).
    """

    database: Database
    job_id: str
    attempt: int
    requested_by: str
    channel: str | None
    thread_key: str | None
    business_at: datetime
    progress: Progress = silent

    @property
    def settings(self) -> Settings:
        return self.database.settings

    @property
    def run_id(self) -> str:
        return f"{self.job_id}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image to show or a file to send.

    The sender draws an image of the type `retention.campaigns.measurement.money_picture.MONEY`.
    ``sensitive`` content is dropped after sending. ``alt_text`` describes an image.
    """

    name: str
    mime: str
    content: bytes
    alt_text: str = ""
    sensitive: bool = False


class Page(Protocol):
    """A report of `retention.reports` with a page to download."""

    @property
    def data(self) -> dict[str, Any]: ...

    def html(self, settings: Settings) -> str: ...


@dataclass(frozen=True, slots=True)
class Post:
    """One visible message: a template and its values.

    `template`: below ``templates/slack``. `workers.delivery.render.message` renders it when the job
    ends.
    `key`: unique for ever. By default the job's own message (``job:{id}``), whose progress bar it
    replaces. With an existing key that message is updated, which is how buttons give way to a
    decision.
    `images`: images by name. The template shows one with ``{type: image, slack_file: {image: NAME},
    alt_text: …}``. The sender uploads it and fills in the id.
    `file`: replaces the blocks: a file with the rendered text as its comment.
    `preface`: a template and its values, whose blocks come first.
    `view_id`: an open modal, which the template's view replaces. ``channel`` is the person's id.
    """

    template: str
    values: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    channel: str | None = None
    thread_key: str | None = None
    images: dict[str, Attachment] = field(default_factory=dict)
    file: Attachment | None = None
    preface: tuple[str, dict[str, Any]] | None = None
    view_id: str | None = None
    keep_images: bool = False


def page_post(context: Context, template: str, report: Page, name: str) -> Post:
    """Return a report's page as a file, for the thread of the job's message."""
    content = report.html(context.settings).encode()
    file = Attachment(f"{name}-{report.data['as_of'][:10]}.html", "text/html", content)
    message = f"job:{context.job_id}"
    return Post(template, report.data, f"{message}:report", thread_key=message, file=file)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task.

    `data`: JSON object for ``--json`` and the job row.
    `apply`: SQL for that transaction. Raises `retention.errors.Refused` to fail the job with a
    sentence. May return further posts that are only known inside the transaction.
    `after_commit`: called once after that transaction. It must not raise.
    """

    data: dict[str, Any]
    posts: tuple[Post, ...] = ()
    apply: Callable[[Transaction], tuple[Post, ...] | None] | None = None
    runs: tuple[str, ...] = ()
    after_commit: Callable[[], None] | None = None
