"""The workspace: conversations, messages, files, modals and Home tabs, as Slack would hold them.

Lives on one event loop, so it needs no locks. Every change is stored (see `store`) and told to whoever listens.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from bot.playground import seed
from bot.playground.store import Store

Json = dict[str, Any]
TRIGGER_SECONDS, RESPONSE_URL_SECONDS, RESPONSE_URL_USES, MODAL_STACK = 3, 1800, 5, 3


class SlackError(Exception):
    """An error as the Web API answers it: ``{"ok": false, "error": code, …}``."""

    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.code, self.extra = code, extra


@dataclass(slots=True)
class Message:
    """One message. ``shown_at`` is business time, which the page shows; ``ts`` is real time, as Slack's is."""

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
    past: list[Json] = field(
        default_factory=list
    )  # blocks with buttons it once had: a stale screen shows them

    @property
    def is_reply(self) -> bool:
        return self.thread_ts is not None and self.thread_ts != self.ts


@dataclass(slots=True)
class File:
    """An uploaded file; its bytes are in the store."""

    id: str
    name: str
    size: int
    title: str = ""
    alt_text: str = ""
    mimetype: str = "application/octet-stream"
    state: str = "awaiting"  # awaiting bytes | uploaded | complete
    shares: dict[str, list[str]] = field(default_factory=dict)
    created: int = 0


@dataclass(slots=True)
class ResponseUrl:
    """Where an app may answer an interaction: 5 times within 30 minutes."""

    channel: str
    user: str
    message: Message | None
    made: float
    uses: int = 0


class Workspace:
    """All state of the stand-in.

    Parameters
    ----------
    store : Store
        Where it is kept.
    now : callable
        Business time, stamped on messages for the page.
    """

    def __init__(
        self, store: Store | None = None, now: Callable[[], datetime] | None = None
    ) -> None:
        self.store = store or Store()
        self.now = now or (lambda: datetime.now(UTC))
        self.channels: dict[str, seed.Channel] = {one.id: one for one in seed.channels()}
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

    # ------------------------------------------------------------ telling the page

    def tell(self, event: Json) -> None:
        """Tell every listener; one that does not keep up is told to start over."""
        for queue in list(self.listeners):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait({"type": "resync"})

    # ------------------------------------------------------------ conversations

    def channel(self, name: str) -> seed.Channel:
        """By id, ``#name`` or name, ``@person``, or a person's id (their direct message)."""
        found = self.channels.get(name)
        if found is None:
            plain = name.removeprefix("#")
            person = seed.person(name)
            found = next(
                (
                    one
                    for one in self.channels.values()
                    if one.name == plain or (person is not None and one.im_of == person.id)
                ),
                None,
            )
        if found is None:
            raise SlackError("channel_not_found")
        return found

    def join(self, channel: seed.Channel, user: str) -> None:
        """Make somebody a member."""
        if user not in channel.members:
            channel.members = (*channel.members, user)
            self.store.put("channel", channel.id, {"members": channel.members})
            self.tell({"type": "channels"})

    # ------------------------------------------------------------ messages

    def next_ts(self) -> str:
        """Real time in microseconds, unique and rising."""
        self._last_ts = max(time.time_ns() // 1000, self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    def post(
        self, channel: str, user: str, text: str, blocks: list[Json] | None = None, **more: Any
    ) -> Message:
        """Add a message (ephemeral with ``only_for``) and tell everybody."""
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
        """Replace a message's content, remembering the buttons it had; marked as edited where it is text alone."""
        message.past = [*message.past, *(block for block in message.blocks if _interactive(block))][
            -40:
        ]
        if edited_by and not blocks and text != message.text:
            message.edited = edited_by
        message.text, message.blocks = text, with_ids(blocks)
        self.changed(message)

    def changed(self, message: Message) -> None:
        """Keep a message and show it anew."""
        if not message.only_for:
            self.store.put("message", f"{message.channel} {message.ts}", asdict(message))
        self.tell({"type": "message", "message": self.shown(message), "only_for": message.only_for})
        if message.is_reply and (
            parent := self.messages[message.channel].get(message.thread_ts or "")
        ):
            self.tell(
                {"type": "message", "message": self.shown(parent), "only_for": parent.only_for}
            )

    def remove(self, message: Message) -> None:
        """Take a message away."""
        self.messages[message.channel].pop(message.ts, None)
        self.store.drop("message", f"{message.channel} {message.ts}")
        self.tell({"type": "deleted", "channel": message.channel, "ts": message.ts})

    def replies(self, message: Message) -> list[Message]:
        """A thread's answers, oldest first, without ephemeral ones."""
        return [
            one
            for one in self.messages[message.channel].values()
            if one.thread_ts == message.ts and one.is_reply and not one.only_for
        ]

    def seen_by(self, channel: str, user: str | None) -> list[Message]:
        """What a person sees in a conversation (nobody: what everybody sees), oldest first, replies included."""
        return [one for one in self.messages[channel].values() if one.only_for in (None, user)]

    def wire(self, message: Message, *, metadata: bool = False) -> Json:
        """A message as the Web API shows it."""
        by_bot = message.user == seed.BOT_USER
        replies = [] if message.is_reply else self.replies(message)
        wire: Json = {
            "type": "message",
            "user": message.user,
            "text": message.text,
            "ts": message.ts,
            "team": seed.TEAM_ID,
        }
        if by_bot:
            wire |= {"bot_id": seed.BOT_ID, "app_id": seed.APP_ID}
        if message.blocks:
            wire["blocks"] = message.blocks
        if message.is_reply or replies:
            wire["thread_ts"] = message.thread_ts or message.ts
        if replies:
            wire |= {
                "reply_count": len(replies),
                "latest_reply": replies[-1].ts,
                "reply_users": sorted({one.user for one in replies}),
            }
        if message.broadcast:
            wire["subtype"] = "thread_broadcast"
        if message.files:
            wire["files"] = [
                self.file_wire(self.files[one]) for one in message.files if one in self.files
            ]
        if message.edited:
            wire["edited"] = {"user": message.edited, "ts": message.ts}
        if metadata and message.metadata:
            wire["metadata"] = message.metadata
        return wire

    def shown(self, message: Message) -> Json:
        """A message as scripts and the page get it."""
        return {
            **self.wire(message),
            "channel": message.channel,
            "blocks": message.blocks,
            "thread_ts": message.thread_ts,
            "shown_at": message.shown_at,
            "ephemeral": bool(message.only_for),
            "files": [
                self.file_wire(self.files[one]) for one in message.files if one in self.files
            ],
        }

    # ------------------------------------------------------------ files

    def file_wire(self, file: File) -> Json:
        """A file as the Web API shows it."""
        return {
            "id": file.id,
            "name": file.name,
            "title": file.title or file.name,
            "mimetype": file.mimetype,
            "size": file.size,
            "user": seed.BOT_USER,
            "created": file.created,
            "alt_txt": file.alt_text,
            "mode": "hosted",
            "url_private": f"/playground/files/{file.id}",
            "permalink": f"/playground/files/{file.id}",
            "shares": {"public": {c: [{"ts": ts} for ts in tss] for c, tss in file.shares.items()}}
            if file.shares
            else {},
        }

    def keep_file(self, file: File, content: bytes | None = None) -> None:
        """Store a file; its bytes stay what they were unless given."""
        if content is None:
            content = self.store.content("file", file.id)
        self.files[file.id] = file
        self.store.put("file", file.id, asdict(file), content)

    def file_usable(self, file_id: str) -> bool:
        """Whether an image block may point to it."""
        return file_id in self.files and self.files[file_id].state == "complete"

    # ------------------------------------------------------------ triggers, response URLs, modals

    def trigger(self, user: str) -> str:
        """A new trigger id: good for 3 seconds, once."""
        made = f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**11)}.{secrets.token_hex(16)}"
        self.triggers[made] = (user, time.monotonic(), False)
        return made

    def exchange(self, trigger_id: str) -> str:
        """The person behind a trigger id; spends it."""
        if trigger_id not in self.triggers:
            raise SlackError("invalid_trigger_id")
        user, made, used = self.triggers[trigger_id]
        if used:
            raise SlackError("exchanged_trigger_id")
        if time.monotonic() - made > TRIGGER_SECONDS:
            raise SlackError("expired_trigger_id")
        self.triggers[trigger_id] = (user, made, True)
        return user

    def response_url(self, channel: str, user: str, message: Message | None = None) -> str:
        """The path of a new response URL."""
        token = secrets.token_urlsafe(18)
        self.response_urls[token] = ResponseUrl(channel, user, message, time.monotonic())
        return f"/response/{token}"

    def modal(self, user: str) -> Json | None:
        """The modal on top of a person's screen."""
        stack = self.modals.get(user)
        return stack[-1] if stack else None

    def show_modal(self, user: str) -> None:
        self.tell({"type": "view", "user": user, "view": self.modal(user)})


def with_ids(blocks: list[Json]) -> list[Json]:
    """Give each block, and each interactive element, the id Slack gives those that come without."""
    made = []
    for block in blocks:
        block = {**block, "block_id": block.get("block_id") or secrets.token_urlsafe(4)}
        for key in ("accessory", "element"):
            if isinstance(block.get(key), dict) and block[key].get("type") != "image":
                block[key] = {"action_id": secrets.token_urlsafe(4), **block[key]}
        if block.get("type") == "actions":
            block["elements"] = [
                {"action_id": secrets.token_urlsafe(4), **one} for one in block["elements"]
            ]
        made.append(block)
    return made


def _interactive(block: Json) -> bool:
    return block.get("type") in ("actions", "input") or "accessory" in block
