"""Send one claimed outbox row to Slack.

Nothing here runs inside a transaction.
"""

from dataclasses import dataclass
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from sqlalchemy import select, update

from retention import clock
from retention.campaigns.measurement import money_picture
from retention.db import Database
from retention.db.tables import File, Job, Outbox
from workers import action_ids
from workers.delivery import render, slack_client
from workers.delivery.block_limits import check_message

_CLOCK_DIFFERENCE = 5.0  # seconds
_CLOSED = ("not_found", "view_not_found")  # Slack's errors for a modal that was closed


@dataclass(slots=True)
class Claim:
    """A claimed row and its destination.

    ``posting`` is true while a call makes the message visible.
    """

    row: Outbox
    thread_ts: str | None
    channel_id: str | None
    posting: bool = False


@dataclass(frozen=True, slots=True)
class SentMessage:
    """Location and revision of a message in Slack."""

    channel_id: str
    ts: str
    revision: int


class Transport:
    """Calls Slack for the sender."""

    def __init__(self, database: Database, web: WebClient) -> None:
        self._database, self._web = database, web
        self._direct: dict[str, str] = {}

    def deliver(self, claim: Claim) -> SentMessage:
        """Post or update the message of a claim, or replace an open modal.

        Errors are for `workers.delivery.slack_client.classify`.
        """
        if claim.row.kind == "view":
            return self._view(claim)
        channel = claim.channel_id or self._channel(claim.row.channel)
        if claim.row.kind == "file":
            return self._file(claim, channel)
        return self._message(claim, channel)

    def direct_message(self, claim: Claim) -> str | None:
        """Return the requester's direct message for a refused post.

        Returns None if there is none.
        """
        row = claim.row
        if row.channel_id or not row.job_id or not slack_client.is_channel(row.channel):
            return None
        with self._database.reading() as session:
            user = session.scalar(select(Job.requested_by).where(Job.id == row.job_id)) or ""
        try:
            return self._channel(user) if user[:1] in ("U", "W") else None
        except Exception as error:
            slack_client.classify(error)
            return None

    # ------------------------------------------------------------ messages

    def _message(self, claim: Claim, channel: str) -> SentMessage:
        row = claim.row
        content = self._content(row)
        if row.ts is not None:
            self._web.chat_update(channel=channel, ts=row.ts, **content)
            return SentMessage(channel, row.ts, row.revision)
        if row.ambiguous and row.first_try is not None:
            oldest = row.first_try.timestamp() - _CLOCK_DIFFERENCE
            place: Any = {"oldest": oldest, "thread_ts": claim.thread_ts}
            ts = slack_client.find_post(self._web, channel, row.key, **place)
            if ts is not None:  # it was accepted, but its revision is unknown
                return SentMessage(channel, ts, row.revision if row.revision == 1 else 0)
        claim.posting = True
        answer = self._web.chat_postMessage(
            channel=channel,
            thread_ts=claim.thread_ts,
            unfurl_links=False,
            unfurl_media=False,
            link_names=False,
            **content,
        )
        return SentMessage(str(answer["channel"]), str(answer["ts"]), row.revision)

    def _view(self, claim: Claim) -> SentMessage:
        """Replace an open modal; one that was closed needs nothing.

        After an erasure the row has no view.
        """
        row = claim.row
        payload = row.payload
        sent = SentMessage(row.channel_id or row.channel, row.ts or row.key, row.revision)
        if "view" not in payload:
            return sent
        view = _fill_images(payload["view"], self._image_ids(row))
        try:
            self._web.views_update(view_id=payload["view_id"], view=view)
        except SlackApiError as error:
            if error.response.get("error") not in _CLOSED:
                raise
        return sent

    def _content(self, row: Outbox) -> dict[str, Any]:
        images = self._image_ids(row)
        blocks = [_fill_images(block, images) for block in row.payload["blocks"]]
        if (
            row.channel_id
            and row.channel_id != row.channel
            and slack_client.is_channel(row.channel)
        ):
            note = render.message("job/elsewhere", channel=row.channel)
            blocks = check_message([*note.blocks, *blocks])
        metadata = {"event_type": action_ids.POST_EVENT, "event_payload": {"key": row.key}}
        return {"text": row.payload["text"], "blocks": blocks, "metadata": metadata}

    def _channel(self, target: str) -> str:
        """Return the channel for a channel or user id."""
        if target[0] not in "UW":
            return target
        if target not in self._direct:
            self._direct[target] = str(self._web.conversations_open(users=target)["channel"]["id"])
        return self._direct[target]

    # ------------------------------------------------------------ files

    def _image_ids(self, row: Outbox) -> dict[str, str]:
        images = row.payload.get("images", {})
        return {name: self._image_id(file_id) for name, file_id in images.items()}

    def _image_id(self, file_id: str) -> str:
        """Upload an image once and return its id.

        It is only visible in the message that shows it.
        """
        file = self._stored_file(file_id)
        if file.uploaded_at is not None and file.slack_file_id:
            return file.slack_file_id
        content = file.content or b""
        if file.mime == money_picture.MONEY:
            content = money_picture.draw_money(content)
        uploaded = slack_client.upload(self._web, file.name, content, file.alt_text)
        self._web.files_completeUploadExternal(files=[{"id": uploaded, "title": file.name}])
        self._store_upload(file_id, slack_file_id=uploaded, uploaded_at=clock.wall())
        return uploaded

    def _file(self, claim: Claim, channel: str) -> SentMessage:
        """Share a file as a message.

        Its id is stored first, to settle an ambiguous attempt by asking Slack.
        """
        row = claim.row
        file = self._stored_file(row.payload["file"])
        uploaded = file.slack_file_id
        if (
            uploaded
            and row.ambiguous
            and (ts := slack_client.shared_ts(self._web, uploaded, channel))
        ):
            return SentMessage(channel, ts, row.revision)
        if not uploaded:
            if file.content is None:
                raise slack_client.ContentDropped
            uploaded = slack_client.upload(self._web, file.name, file.content, file.alt_text)
            self._store_upload(file.id, slack_file_id=uploaded)
        claim.posting = True
        self._web.files_completeUploadExternal(
            files=[{"id": uploaded, "title": file.name}],
            channel_id=channel,
            thread_ts=claim.thread_ts,
            initial_comment=row.payload["text"] or None,
        )
        self._store_upload(file.id, uploaded_at=clock.wall())
        return SentMessage(channel, self._shared_at(uploaded, channel), row.revision)

    def _shared_at(self, uploaded: str, channel: str) -> str:
        """Return the ``ts`` of a file's message, if known."""
        try:
            return slack_client.shared_ts(self._web, uploaded, channel) or ""
        except Exception as error:
            slack_client.classify(error)
            return ""

    def _stored_file(self, file_id: str) -> File:
        with self._database.reading() as session:
            return session.get_one(File, file_id)

    def _store_upload(self, file_id: str, **values: Any) -> None:
        with self._database.transaction() as session:
            session.execute(update(File).where(File.id == file_id).values(**values))


def _fill_images(node: Any, images: dict[str, str]) -> Any:
    """Replace ``slack_file: {image: NAME}`` by ``{id: F…}``."""
    if isinstance(node, dict):
        if set(node) == {"image"} and node["image"] in images:
            return {"id": images[node["image"]]}
        return {key: _fill_images(value, images) for key, value in node.items()}
    return [_fill_images(value, images) for value in node] if isinstance(node, list) else node
