"""Define the input and the output of a task.

A task module ``workers/tasks/<kind>.py`` has one function::

    def run(request: Sweep, context: Context) -> Outcome: ...

It imports `retention` packages inside the function, because the Celery parent must never load them.
It reports progress and writes nothing to SQL itself. SQL goes into ``Outcome.apply``, which the one
fenced transaction at the end of the job runs together with the outbox rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from retention.db import Database
from retention.progress import Progress, silent
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The data that a task may use.

    ``run_id`` (job and attempt) marks its rows in the lake, which ``Outcome.runs`` publishes.
    ``channel`` is the destination of the result: a channel id, a user id (direct message) or None
    (the terminal).
    """

    settings: Settings
    database: Database
    job_id: str
    attempt: int
    requested_by: str
    channel: str | None
    thread_key: str | None
    business_at: datetime
    progress: Progress = silent

    @property
    def run_id(self) -> str:
        return f"{self.job_id}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image to show or a file to send.

    The sender draws an image of the type `retention.campaigns.pictures.MONEY`. ``sensitive``
    content is dropped after sending. ``alt_text`` describes an image.
    """

    name: str
    mime: str
    content: bytes
    alt_text: str = ""
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """One visible message: a template and its values.

    Parameters
    ----------
    template : str
        Below ``templates/slack``. `workers.delivery.render.message` renders it when the job ends.
    values : dict
        Values of the template.
    key : str, optional
        Unique for ever. By default the job's own message (``job:{id}``), whose progress bar it
        replaces. With an existing key that message is updated, which is how buttons give way to a
        decision.
    channel : str, optional
        By default the job's channel. A user id means a direct message.
    thread_key : str, optional
        Outbox key of the message to answer in its thread.
    images : dict
        Images by name. The template shows one with ``{type: image, slack_file: {image: NAME},
        alt_text: …}``. The sender uploads it and fills in the id.
    file : Attachment, optional
        Replaces the blocks: a file with the rendered text as its comment.
    preface : tuple of str and dict, optional
        A template and its values, whose blocks come first.
    view_id : str, optional
        An open modal, which the template's view replaces. ``channel`` is the person's id.
    keep_images : bool
        Keep the images of the message that this one updates.
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a task.

    Parameters
    ----------
    data : dict
        JSON object for ``--json`` and the job row.
    posts : tuple of Post
        Messages, written to the outbox in the final transaction.
    apply : callable, optional
        SQL for that transaction. Raises `retention.errors.Refused` to fail the job with a sentence.
        May return further posts that are only known inside the transaction.
    runs : tuple of str
        Lake tables with rows of this job's run id, to be published.
    after_commit : callable, optional
        Called once after that transaction. It must not raise.
    """

    data: dict[str, Any]
    posts: tuple[Post, ...] = ()
    apply: Callable[[Session], tuple[Post, ...] | None] | None = None
    runs: tuple[str, ...] = ()
    after_commit: Callable[[], None] | None = None
