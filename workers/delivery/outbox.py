"""Store the messages that Slack should show.

One row is one visible message. Rows are written in the transaction that decides their content.
Writing to an existing key makes a new revision of that message, never a second message.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, or_, select, update

from retention import clock, traces
from retention.db import Transaction
from retention.db.insert import changed, insert_once
from retention.db.tables import File, Job, Outbox
from retention.errors import BadInput, Conflict
from retention.text import gettext, use_language
from workers import languages
from workers.delivery import render
from workers.delivery.block_limits import check_message
from workers.job_requests import REQUESTS
from workers.tasks.interface import Attachment, Post

UNDELIVERED = ("pending", "sending", "rate_limited", "ambiguous")
STUCK = ("held", "failed")
_SLACK_ID = re.compile(r"[CGDUW][A-Z0-9]+")


def put(
    session: Transaction, post: Post, *, default_channel: str | None, job_id: str | None = None
) -> str:
    """Insert or update a message.

    `post`: rendered now. Without a key it is the job's own message, ``job:{job_id}``. ``zone``,
    ``currency`` and ``demo`` are added to its values.
    `default_channel`: destination if the post names none. Without both (in the terminal) nothing is
    inserted, but an existing message is updated.
    Returns: the outbox key. Replies name it as their ``thread_key``.
    """
    key = post.key or f"job:{job_id}"
    channel = post.channel or default_channel or ""
    existing = session.scalar(select(Outbox.payload).where(Outbox.key == key))
    if existing is None and not is_slack_id(channel):
        return key
    language = languages.of_message(session, channel, job_id, key, post.thread_key)
    with use_language(language):
        payload = _payload(session, post, (existing or {}).get("images", {}))
    if post.keep_images and existing:
        payload["images"] = existing.get("images", {})
    if existing is None and insert_once(
        session,
        Outbox,
        key=key,
        team_id=session.settings.team_id,
        kind="file" if post.file else "view" if post.view_id else "message",
        channel=channel,
        thread_key=post.thread_key,
        payload=payload,
        job_id=job_id,
        traceparent=traces.traceparent(),
    ):
        return key
    replace(session, key, payload)
    return key


def is_slack_id(channel: str) -> bool:
    """Return whether a text is a Slack id. Slack accepts no names."""
    return _SLACK_ID.fullmatch(channel) is not None


def channel_of(session: Transaction, key: str) -> str | None:
    return session.scalar(select(Outbox.channel).where(Outbox.key == key))


def undelivered() -> Select[int]:
    """Return the query that counts undelivered messages. Held and failed ones do not count."""
    return select(func.count()).select_from(Outbox).where(Outbox.state.in_(UNDELIVERED))


def stuck(session: Transaction) -> Sequence[Outbox]:
    """Return messages that need a person, oldest first.

    They are held after too many ambiguous attempts, or Slack has refused them.
    """
    conditions = Outbox.team_id == session.settings.team_id, Outbox.state.in_(STUCK)
    return session.scalars(select(Outbox).where(*conditions).order_by(Outbox.id)).all()


def release(session: Transaction, post_id: int) -> Outbox:
    """Let the sender try a stuck message again.

    A held message is searched for in its channel first.
    """
    row = session.get(Outbox, post_id, populate_existing=True)
    if row is None or row.team_id != session.settings.team_id:
        sentence = gettext(
            "There is no post {post_id}; see `retention posts` for those that are stuck."
        )
        raise BadInput(sentence.format(post_id=post_id))
    was_held = Outbox.state == "held"
    again = {
        "state": case((was_held, "ambiguous"), else_="pending"),
        "ambiguous": case((was_held, 1), else_=0),
        "attempts": 0,
        "next_at": clock.wall(),
    }
    stuck_one = update(Outbox).where(Outbox.id == post_id, Outbox.state.in_(STUCK))
    is_released = changed(session, stuck_one.values(again))
    session.refresh(row)
    if not is_released:
        text = gettext("Post {post_id} is {state}; only a held or failed one can be released.")
        raise Conflict(text.format(post_id=post_id, state=row.state))
    return row


def drop_sent(session: Transaction, before: datetime, most: int) -> None:
    """Delete old sent messages without customers.

    Others stay. An erasure must find messages with names, replies need their thread, and campaigns
    their messages.
    """
    kinds = [kind for kind, request in REQUESTS.items() if not request.names_customers]
    anonymous = select(Job.id).where(Job.kind.in_(kinds))
    parents = select(Outbox.thread_key).where(Outbox.thread_key.is_not(None))
    old = select(Outbox.id).where(
        Outbox.team_id == session.settings.team_id,
        Outbox.state == "sent",
        Outbox.sent_at < before,
        Outbox.job_id.in_(anonymous),
        ~Outbox.key.startswith("campaign:"),
        Outbox.key.not_in(parents),
    )
    session.change(delete(Outbox).where(Outbox.id.in_(old.limit(most))))


def drop_delivered_content(session: Transaction, before: datetime, most: int) -> None:
    """Delete the content of old uploaded files."""
    old = select(File.id).where(File.uploaded_at < before, File.content.is_not(None)).limit(most)
    session.change(update(File).where(File.id.in_(old)).values(content=None))


def drop_sensitive_content(session: Transaction, *which: ColumnElement[bool]) -> None:
    """Delete the content of files with identities or codes."""
    stored = update(File).where(File.sensitive.is_(True), File.content.is_not(None), *which)
    session.change(stored.values(content=None))


def replace(session: Transaction, key: str, payload: dict[str, Any]) -> None:
    """Store a new revision of a message.

    A row that is being sent, or is ambiguous, keeps its state. The sender sees the revision when it
    has finished.

    `payload`: text, blocks and files, as stored.
    """
    waits = Outbox.state.in_(("sending", "rate_limited", "ambiguous", "held"))
    row = update(Outbox).where(Outbox.key == key, Outbox.kind.in_(("message", "view")))
    session.change(
        row.values(
            payload=payload,
            traceparent=traces.traceparent() or Outbox.traceparent,
            revision=Outbox.revision + 1,
            state=case((waits, Outbox.state), else_="pending"),
            next_at=case((waits, Outbox.next_at), else_=clock.wall()),
        )
    )


def _payload(session: Transaction, post: Post, shown: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a row.

    The files' content is in ``files``. Images that the message shows already (``shown``: their file
    ids by name) are not stored and uploaded again.
    """
    shared = {
        "zone": session.settings.timezone,
        "currency": session.settings.currency,
        "demo": session.settings.demo,
    }
    if post.view_id:
        images = {name: _store_file(session, image) for name, image in post.images.items()}
        view = render.view(post.template, **{**shared, **post.values})
        return {"view": view, "view_id": post.view_id, "images": images}
    message = render.message(post.template, **{**shared, **post.values})
    if post.file is not None:
        return {"text": message.text, "file": _store_file(session, post.file)}
    if post.preface is not None:
        template, values = post.preface
        first = render.message(template, **{**shared, **values})
        blocks = check_message([*first.blocks, *message.blocks])
        message = render.Message(message.text, blocks)
    images = {
        name: _same_file(session, shown.get(name), image) or _store_file(session, image)
        for name, image in post.images.items()
    }
    return {"text": message.text, "blocks": message.blocks, "images": images}


def _same_file(session: Transaction, file_id: str | None, attachment: Attachment) -> str | None:
    """Return the id of a stored file if it is equal to the attachment."""
    if file_id is None or attachment.sensitive:
        return None
    # Content is dropped some time after the upload.
    is_equal = or_(File.content == attachment.content, File.content.is_(None))
    return session.scalar(
        select(File.id).where(File.id == file_id, File.name == attachment.name, is_equal)
    )


def _store_file(session: Transaction, attachment: Attachment) -> str:
    file_id = secrets.token_hex(12)
    session.add(File(id=file_id, team_id=session.settings.team_id, **asdict(attachment)))
    session.flush()
    return file_id
