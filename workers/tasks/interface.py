"""What every task gets and gives back. A task file ``workers/tasks/<kind>.py`` has one function::

    def run(request: Sweep, context: Context) -> Outcome: ...

It imports `retention` rooms inside the function (the Celery parent must never load them), reports progress, writes
nothing to SQL itself: what must be written goes into ``Outcome.apply`` and is committed in the one fenced transaction
that finishes the job, together with the outbox rows.
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
    """What a task may use.

    ``run_id`` (job and attempt) marks whatever it writes to the lake; it is published by ``Outcome.runs``.
    ``channel`` is where the result goes: a channel id, a user id (their direct message), or None in the terminal.
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
    """Bytes to show (``image/png``, by ``alt_text``) or to send as a file. ``sensitive`` ones are dropped once sent."""

    name: str
    mime: str
    content: bytes
    alt_text: str = ""
    sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """One visible message: a template of ``templates/slack`` and its values.

    Parameters
    ----------
    template, values
        Rendered by `workers.delivery.render.message` when the job finishes.
    key
        Unique for ever. None: the job's own message (``job:{id}``), whose progress bar it replaces.
        An existing key: that message is updated in place (this is how buttons give way to a decision).
    channel
        None: where the job was asked for. A user id: their direct message.
    thread_key
        The outbox key of the message to answer in its thread.
    images
        Name → picture. The template shows one with ``{type: image, slack_file: {image: NAME}, alt_text: …}``;
        the sender uploads it and fills in the id.
    file
        Instead of blocks: a file with the rendered text as its comment.
    """

    template: str
    values: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    channel: str | None = None
    thread_key: str | None = None
    images: dict[str, Attachment] = field(default_factory=dict)
    file: Attachment | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task came to.

    Parameters
    ----------
    data
        The contract's JSON object: what ``--json`` prints and the job row keeps.
    posts
        Messages, written to the outbox in the finishing transaction.
    apply
        SQL to run in that same transaction; raise `retention.errors.Refused` to fail the job with a sentence.
        It may return further posts, for what is only known inside the transaction.
    runs
        Lake tables written under this job's run id, to be published.
    """

    data: dict[str, Any]
    posts: tuple[Post, ...] = ()
    apply: Callable[[Session], tuple[Post, ...] | None] | None = None
    runs: tuple[str, ...] = ()
