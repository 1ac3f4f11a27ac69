"""Hold the state of the fake Slack.

It lives on one event loop and needs no locks. Every change is stored and sent to the listeners.
The bot's outbox refers to messages by their ``ts``, so messages must survive a restart of the
demo. Otherwise every later ``chat.update`` would fail.
"""

import asyncio
import json
import mimetypes
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from bot.playground import seed
from retention.paths import create_private_folder

Json = dict[str, Any]
TRIGGER_SECONDS, RESPONSE_URL_SECONDS, RESPONSE_URL_USES, MODAL_STACK = 3, 1800, 5, 3
PREVIEW = 100  # characters of a transcription; Slack documents no number


class SlackError(Exception):
    """An error of the Web API. The answer is ``{"ok": false, "error": code, …}``."""

    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.code, self.extra = code, extra


@dataclass(slots=True)
class Message:
    """One message. ``shown_at`` is business time and ``ts`` is real time."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: list[Json] = field(default_factory=list)
    thread_ts: str | None = None
    files: list[str] = field(default_factory=list)
    metadata: Json | None = None
    edited: str | None = None
    only_for: str | None = None
    broadcast: bool = False
    shown_at: str = ""
    # Earlier blocks with buttons, which an outdated screen still shows.
    past: list[Json] = field(default_factory=list)

    @property
    def is_reply(self) -> bool:
        return self.thread_ts is not None and self.thread_ts != self.ts


@dataclass(slots=True)
class File:
    """An uploaded file. Its bytes are in the store."""

    id: str
    name: str
    size: int
    title: str = ""
    alt_text: str = ""
    mimetype: str = "application/octet-stream"
    state: str = "awaiting"  # awaiting bytes | uploaded | complete
    shares: dict[str, list[str]] = field(default_factory=dict)
    created: int = 0
    user: str = seed.BOT_USER
    transcript: str | None = None  # of a recording, whose name begins as Slack's do
    is_transcribed: bool = False

    @classmethod
    def new(cls, name: str, size: int, **more: Any) -> "File":
        """Return a file with a new id, created now."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        file_id, created = f"F{secrets.token_hex(5).upper()}", int(time.time())
        return cls(file_id, PurePath(name).name, size, mimetype=kind, created=created, **more)


def _voice(file: File, address: str) -> Json:
    """Return what a recording's file object has besides, as Slack's clients show it."""
    if not file.name.startswith("audio_message"):
        return {}
    shown: Json = {"subtype": "slack_audio", "media_display_type": "audio"}
    if file.transcript is None:
        return shown
    if not file.is_transcribed:
        return {**shown, "transcription": {"status": "processing"}}
    preview = {"content": file.transcript[:PREVIEW], "has_more": len(file.transcript) > PREVIEW}
    done = {"status": "complete", "locale": "en-US", "preview": preview}
    return {**shown, "transcription": done, "vtt": f"{address}/vtt/{file.id}.vtt"}


@dataclass(slots=True)
class ResponseUrl:
    """A URL for answers to an interaction. It allows 5 uses within 30 minutes."""

    channel: str
    user: str
    message: Message | None
    created_at: float
    uses: int = 0


class Store:
    """JSON documents in one SQLite file. Each has a kind, a key and optional bytes."""

    def __init__(self, path: Path | None = None) -> None:
        if path:
            create_private_folder(path.parent)
        self._connection = sqlite3.connect(
            path or ":memory:", isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS things "
            "(kind TEXT, key TEXT, body TEXT, content BLOB, PRIMARY KEY (kind, key))"
        )

    def put(self, kind: str, key: str, body: dict[str, Any], content: bytes | None = None) -> None:
        """Store or replace a document."""
        self._connection.execute(
            "INSERT OR REPLACE INTO things VALUES (?, ?, ?, ?)",
            (kind, key, json.dumps(body), content),
        )

    def drop(self, kind: str, key: str) -> None:
        """Delete a document."""
        self._connection.execute("DELETE FROM things WHERE kind = ? AND key = ?", (kind, key))

    def all(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return all documents of a kind."""
        rows = self._connection.execute(
            "SELECT key, body FROM things WHERE kind = ? ORDER BY key", (kind,)
        ).fetchall()
        return ((key, json.loads(body)) for key, body in rows)

    def content(self, kind: str, key: str) -> bytes | None:
        """Return the bytes of a document."""
        row = self._connection.execute(
            "SELECT content FROM things WHERE kind = ? AND key = ?", (kind, key)
        ).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        self._connection.close()


class Workspace:
    """All state of the fake Slack."""

    def __init__(
        self, store: Store | None = None, now: Callable[[], datetime] | None = None
    ) -> None:
        self.store = store or Store()
        self.now = now or (lambda: datetime.now(UTC))
        self.base_url = ""  # of the server, for addresses of files
        self.channels: dict[str, seed.Channel] = {
            channel.id: channel for channel in seed.channels()
        }
        self.messages: dict[str, dict[str, Message]] = {channel: {} for channel in self.channels}
        self.files: dict[str, File] = {}
        self.homes: dict[str, Json] = {}
        self.read: dict[str, str] = {}  # "user channel" → ts
        self.modals: dict[str, list[Json]] = {}
        self.triggers: dict[str, tuple[str, float, bool]] = {}
        self.response_urls: dict[str, ResponseUrl] = {}
        self.tickets: set[str] = set()  # of Socket Mode connections not yet made
        self.listeners: set[asyncio.Queue[Json]] = set()
        self._last_ts = 0
        self._load()

    def _load(self) -> None:
        for key, body in self.store.all("channel"):
            self.channels[key].members = tuple(body["members"])
        for _, body in self.store.all("message"):
            message = Message(**body)
            self.messages[message.channel][message.ts] = message
        self.files = {key: File(**body) for key, body in self.store.all("file")}
        self.homes = dict(self.store.all("home"))
        self.read = {key: body["ts"] for key, body in self.store.all("read")}

    # ------------------------------------------------------------ notifications

    def notify(self, event: Json) -> None:
        """Send an event to every listener. A slow listener has to reload."""
        for queue in list(self.listeners):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait({"type": "resync"})

    # ------------------------------------------------------------ conversations

    def channel(self, name: str) -> seed.Channel:
        """Find a conversation. By id, ``#name``, name, ``@person`` or person id."""
        channel = self.channels.get(name)
        if channel is None:
            plain = name.removeprefix("#")
            person = seed.person(name)
            owner = person.id if person else plain
            named = (
                one for one in self.channels.values() if plain == one.name or owner == one.im_of
            )
            channel = next(named, None)
        if channel is None:
            raise SlackError("channel_not_found")
        return channel

    def join(self, channel: seed.Channel, user: str) -> None:
        """Add a member."""
        if user not in channel.members:
            channel.members = (*channel.members, user)
            self.store.put("channel", channel.id, {"members": channel.members})
            self.notify({"type": "channels"})

    # ------------------------------------------------------------ messages

    def next_ts(self) -> str:
        """Return real time in microseconds, unique and increasing."""
        self._last_ts = max(time.time_ns() // 1000, self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def post(
        self, channel: str, user: str, text: str, blocks: list[Json] | None = None, **more: Any
    ) -> Message:
        """Add a message and notify the listeners.

        `**more`: more fields of `Message`, e.g. ``only_for`` for an ephemeral message.
        """
        message = Message(
            channel,
            self.next_ts(),
            user,
            text,
            with_ids(blocks or []),
            shown_at=self.now().isoformat(),
            **more,
        )
        self.messages[channel][message.ts] = message
        self.changed(message)
        return message

    def revise(
        self, message: Message, text: str, blocks: list[Json], *, edited_by: str | None
    ) -> None:
        """Replace a message's content but remember its old buttons."""
        old = [block for block in message.blocks if _interactive(block)]
        message.past = [*message.past, *old][-40:]
        if edited_by and not blocks and text != message.text:
            message.edited = edited_by
        message.text, message.blocks = text, with_ids(blocks)
        self.changed(message)

    def changed(self, message: Message) -> None:
        """Store a changed message and show it."""
        if not message.only_for:
            self.store.put("message", f"{message.channel} {message.ts}", asdict(message))
        parent = self.messages[message.channel].get(message.thread_ts or "")
        for one in (message, parent if message.is_reply else None):
            if one:
                shown = self.shown(one)
                self.notify({"type": "message", "message": shown, "only_for": one.only_for})

    def remove(self, message: Message) -> None:
        self.messages[message.channel].pop(message.ts, None)
        self.store.drop("message", f"{message.channel} {message.ts}")
        self.notify({"type": "deleted", "channel": message.channel, "ts": message.ts})

    def replies(self, message: Message) -> list[Message]:
        """Return a thread's replies, oldest first, without ephemeral ones."""
        return [
            reply
            for reply in self.messages[message.channel].values()
            if reply.thread_ts == message.ts and reply.is_reply and not reply.only_for
        ]

    def seen_by(self, channel: str, user: str | None) -> list[Message]:
        """Return a person's view of a conversation.

        Returns: oldest first, with replies.
        """
        messages = self.messages[channel].values()
        return [message for message in messages if message.only_for in (None, user)]

    def wire(self, message: Message, *, metadata: bool = False) -> Json:
        """Return a message in the Web API's format."""
        is_by_bot = message.user == seed.BOT_USER
        replies = [] if message.is_reply else self.replies(message)
        wire: Json = {
            "type": "message",
            "user": message.user,
            "text": message.text,
            "ts": message.ts,
            "team": seed.TEAM_ID,
        }
        if is_by_bot:
            wire |= {"bot_id": seed.BOT_ID, "app_id": seed.APP_ID}
        if message.blocks:
            wire["blocks"] = message.blocks
        if message.is_reply or replies:
            wire["thread_ts"] = message.thread_ts or message.ts
        if replies:
            wire |= {
                "reply_count": len(replies),
                "latest_reply": replies[-1].ts,
                "reply_users": sorted({reply.user for reply in replies}),
            }
        if message.broadcast:
            wire["subtype"] = "thread_broadcast"
        if message.files:
            wire["files"] = self._files_of(message)
        if message.edited:
            wire["edited"] = {"user": message.edited, "ts": message.ts}
        if metadata and message.metadata:
            wire["metadata"] = message.metadata
        return wire

    def shown(self, message: Message) -> Json:
        """Return a message for scripts and the page."""
        return {
            **self.wire(message),
            "channel": message.channel,
            "blocks": message.blocks,
            "thread_ts": message.thread_ts,
            "shown_at": message.shown_at,
            "ephemeral": bool(message.only_for),
            "files": self._files_of(message),
        }

    def _files_of(self, message: Message) -> list[Json]:
        return [self.file_wire(self.files[one]) for one in message.files if one in self.files]

    # ------------------------------------------------------------ files

    def file_wire(self, file: File) -> Json:
        """Return a file in the Web API's format. Its private addresses need the bot's token."""
        address = f"{self.base_url}/files-pri/{seed.TEAM_ID}-{file.id}"
        return {
            "id": file.id,
            "name": file.name,
            "title": file.title or file.name,
            "mimetype": file.mimetype,
            "size": file.size,
            "user": file.user,
            "created": file.created,
            "alt_txt": file.alt_text,
            "mode": "hosted",
            "filetype": PurePath(file.name).suffix.lstrip(".").lower(),
            "url_private": f"{address}/{quote(file.name)}",
            "url_private_download": f"{address}/download/{quote(file.name)}",
            "permalink": f"/playground/files/{file.id}",
            **_voice(file, address),
            "shares": {"public": {c: [{"ts": ts} for ts in tss] for c, tss in file.shares.items()}}
            if file.shares
            else {},
        }

    def keep_file(self, file: File, content: bytes | None = None) -> None:
        """Store a file. Its bytes stay the same by default."""
        if content is None:
            content = self.store.content("file", file.id)
        self.files[file.id] = file
        self.store.put("file", file.id, asdict(file), content)

    def file_usable(self, file_id: str) -> bool:
        """Return whether image blocks may show the file."""
        return file_id in self.files and self.files[file_id].state == "complete"

    # ------------------------------------------------------------ triggers, response URLs, modals

    def trigger(self, user: str) -> str:
        """Return a new trigger id. It is valid once, for 3 seconds."""
        trigger_id = (
            f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**11)}.{secrets.token_hex(16)}"
        )
        self.triggers[trigger_id] = (user, time.monotonic(), False)
        return trigger_id

    def exchange(self, trigger_id: str) -> str:
        """Use up a trigger id and return its person."""
        if trigger_id not in self.triggers:
            raise SlackError("invalid_trigger_id")
        user, created_at, is_used = self.triggers[trigger_id]
        if is_used:
            raise SlackError("exchanged_trigger_id")
        if time.monotonic() - created_at > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        self.triggers[trigger_id] = (user, created_at, True)
        return user

    def response_url(self, channel: str, user: str, message: Message | None = None) -> str:
        """Return a new response URL."""
        token = secrets.token_urlsafe(18)
        self.response_urls[token] = ResponseUrl(channel, user, message, time.monotonic())
        return f"{self.base_url}/response/{token}"

    def modal(self, user: str) -> Json | None:
        """Return the top modal of a person."""
        stack = self.modals.get(user)
        return stack[-1] if stack else None

    def show_modal(self, user: str) -> None:
        self.notify({"type": "view", "user": user, "view": self.modal(user)})


def with_ids(blocks: list[Json]) -> list[Json]:
    """Give missing ids to blocks and elements."""
    result = []
    for block in blocks:
        block = {**block, "block_id": block.get("block_id") or secrets.token_urlsafe(4)}
        for key in ("accessory", "element"):
            if isinstance(block.get(key), dict) and block[key].get("type") != "image":
                block[key] = {"action_id": secrets.token_urlsafe(4), **block[key]}
        if block.get("type") == "actions":
            block["elements"] = [
                {"action_id": secrets.token_urlsafe(4), **element} for element in block["elements"]
            ]
        result.append(block)
    return result


def _interactive(block: Json) -> bool:
    return block.get("type") in ("actions", "input") or "accessory" in block
