"""The Web API's conversations, messages and people. Each function is one method: arguments in, Slack's JSON out."""

import secrets
from collections.abc import Callable
from typing import Any

from bot.playground import seed
from bot.playground.checks import check_blocks, too_long
from bot.playground.rate_limits import Faults, Pace
from bot.playground.workspace import Json, Message, SlackError, Workspace

LAG_SECONDS = 600.0


class Api:
    """What a method may use."""

    def __init__(
        self, workspace: Workspace, pace: Pace, faults: Faults, base_url: Callable[[], str]
    ) -> None:
        self.workspace, self.pace, self.faults, self.base_url = workspace, pace, faults, base_url


Method = Callable[[Api, Json], Json]
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Register a Web API method."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


def required(args: Json, name: str, error: str = "invalid_arguments") -> str:
    """An argument that must be there."""
    if not args.get(name):
        raise SlackError(
            error, response_metadata={"messages": [f"[ERROR] missing required field: {name}"]}
        )
    return str(args[name])


def checked(api: Api, blocks: Any, surface: str = "message") -> list[Json]:
    """Blocks that Slack would accept."""
    if not blocks:
        return []
    if problems := check_blocks(blocks, surface, api.workspace.file_usable):
        raise SlackError(
            "invalid_blocks", response_metadata={"messages": problems}, errors=problems
        )
    if surface == "message" and too_long(blocks):
        raise SlackError("msg_blocks_too_long")
    return blocks


def joined(api: Api, args: Json, *, names: bool = True) -> seed.Channel:
    """The conversation of ``channel``, where the bot is a member."""
    asked = required(args, "channel", "channel_not_found")
    if not names and asked not in api.workspace.channels:
        raise SlackError("channel_not_found")
    channel = visible(api, asked)
    if not channel.has_bot:
        raise SlackError("not_in_channel")
    return channel


def visible(api: Api, asked: str) -> seed.Channel:
    """A conversation the bot may know of: private ones only as a member."""
    channel = api.workspace.channel(asked)
    if channel.private and not channel.has_bot:
        raise SlackError("channel_not_found")
    return channel


# ---------------------------------------------------------------- the app itself


@method("api.test")
def api_test(api: Api, args: Json) -> Json:
    return {"args": args}


@method("auth.test")
def auth_test(api: Api, args: Json) -> Json:
    return {
        "url": f"{api.base_url()}/",
        "team": seed.TEAM_NAME,
        "user": seed.BOT.handle,
        "team_id": seed.TEAM_ID,
        "user_id": seed.BOT_USER,
        "bot_id": seed.BOT_ID,
        "is_enterprise_install": False,
    }


@method("team.info")
def team_info(api: Api, args: Json) -> Json:
    return {"team": {"id": seed.TEAM_ID, "name": seed.TEAM_NAME, "domain": seed.TEAM_DOMAIN}}


@method("apps.connections.open")
def connections_open(api: Api, args: Json) -> Json:
    ticket = secrets.token_urlsafe(16)
    api.workspace.tickets.add(ticket)
    return {"url": f"{api.base_url().replace('http://', 'ws://')}/link?ticket={ticket}"}


# ---------------------------------------------------------------- messages


def _content(api: Api, args: Json) -> tuple[str, list[Json]]:
    text, blocks = str(args.get("text") or ""), checked(api, args.get("blocks"))
    if not text and not blocks:
        raise SlackError("no_text")
    if len(text) > 40_000:
        raise SlackError("msg_too_long")
    return text, blocks


def _metadata(args: Json) -> Json | None:
    metadata = args.get("metadata")
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or not {"event_type", "event_payload"} <= metadata.keys():
        raise SlackError("invalid_metadata_format")
    return metadata


def _thread(api: Api, args: Json, channel: str) -> str | None:
    thread_ts = args.get("thread_ts")
    if not thread_ts:
        return None
    parent = api.workspace.messages[channel].get(str(thread_ts))
    if parent is None or parent.only_for:
        raise SlackError("thread_not_found")
    return parent.thread_ts or parent.ts


@method("chat.postMessage")
def post_message(api: Api, args: Json) -> Json:
    channel = joined(api, args)
    text, blocks = _content(api, args)
    thread_ts, metadata = _thread(api, args, channel.id), _metadata(args)
    if wait := api.pace.post(channel.id):
        raise SlackError("ratelimited", retry_after=wait)
    message = api.workspace.post(
        channel.id,
        seed.BOT_USER,
        text,
        blocks,
        thread_ts=thread_ts,
        metadata=metadata,
        broadcast=bool(thread_ts and args.get("reply_broadcast")),
    )
    return {
        "channel": channel.id,
        "ts": message.ts,
        "message": api.workspace.wire(message, metadata=True),
    }


@method("chat.postEphemeral")
def post_ephemeral(api: Api, args: Json) -> Json:
    channel, user = joined(api, args), required(args, "user")
    if user not in channel.members:
        raise SlackError("user_not_in_channel")
    text, blocks = _content(api, args)
    thread_ts = _thread(api, args, channel.id)
    message = api.workspace.post(
        channel.id, seed.BOT_USER, text, blocks, only_for=user, thread_ts=thread_ts
    )
    return {"message_ts": message.ts}


def _own(api: Api, args: Json, error: str) -> Message:
    channel = joined(api, args, names=False)
    message = api.workspace.messages[channel.id].get(required(args, "ts", "message_not_found"))
    if message is None or message.only_for:
        raise SlackError("message_not_found")
    if message.user != seed.BOT_USER:
        raise SlackError(error)
    return message


@method("chat.update")
def update(api: Api, args: Json) -> Json:
    message = _own(api, args, "cant_update_message")
    text, blocks = _content(api, args)
    if (metadata := _metadata(args)) is not None:
        message.metadata = metadata
    api.workspace.revise(message, text, blocks, edited_by=seed.BOT_USER)
    wire = api.workspace.wire(message, metadata=True)
    return {"channel": message.channel, "ts": message.ts, "text": text, "message": wire}


@method("chat.delete")
def delete(api: Api, args: Json) -> Json:
    message = _own(api, args, "cant_delete_message")
    api.workspace.remove(message)
    return {"channel": message.channel, "ts": message.ts}


@method("chat.getPermalink")
def permalink(api: Api, args: Json) -> Json:
    channel = joined(api, args)
    ts = required(args, "message_ts", "message_not_found")
    if ts not in api.workspace.messages[channel.id]:
        raise SlackError("message_not_found")
    return {
        "channel": channel.id,
        "permalink": f"{api.base_url()}/archives/{channel.id}/p{ts.replace('.', '')}",
    }


# ---------------------------------------------------------------- conversations


@method("conversations.info")
def info(api: Api, args: Json) -> Json:
    return {"channel": visible(api, required(args, "channel", "channel_not_found")).wire()}


@method("conversations.list")
def list_conversations(api: Api, args: Json) -> Json:
    kinds = str(args.get("types") or "public_channel").split(",")
    shown = [
        one.wire()
        for one in api.workspace.channels.values()
        if (one.has_bot or not one.private)
        and ("im" if one.im_of else "private_channel" if one.private else "public_channel") in kinds
    ]
    return {"channels": shown, "response_metadata": {"next_cursor": ""}}


@method("users.conversations")
def own_conversations(api: Api, args: Json) -> Json:
    listed = list_conversations(api, args)
    member = [one for one in listed["channels"] if one["is_im"] or one["is_member"]]
    return {**listed, "channels": member}


@method("conversations.members")
def members(api: Api, args: Json) -> Json:
    channel = visible(api, required(args, "channel", "channel_not_found"))
    return {"members": list(channel.members), "response_metadata": {"next_cursor": ""}}


@method("conversations.join")
def join(api: Api, args: Json) -> Json:
    channel = visible(api, required(args, "channel", "channel_not_found"))
    if channel.private or channel.im_of:
        raise SlackError("method_not_supported_for_channel_type")
    api.workspace.join(channel, seed.BOT_USER)
    return {"channel": channel.wire()}


@method("conversations.open")
def open_conversation(api: Api, args: Json) -> Json:
    asked = str(args.get("channel") or args.get("users") or "")
    person = seed.EVERYONE.get(asked)
    if person is None and asked not in api.workspace.channels:
        raise SlackError("user_not_found" if args.get("users") else "channel_not_found")
    if person is not None and person.is_bot:
        raise SlackError("cannot_dm_bot")
    channel = api.workspace.channel(asked)
    return {"channel": channel.wire(), "no_op": True, "already_open": True}


@method("conversations.history")
def history(api: Api, args: Json) -> Json:
    channel = joined(api, args, names=False)
    found = [
        one
        for one in api.workspace.messages[channel.id].values()
        if not one.only_for and (not one.is_reply or one.broadcast)
    ]
    page, cursor = _page(api, found[::-1], args)
    more = {"response_metadata": {"next_cursor": cursor}} if cursor else {}
    wires = [api.workspace.wire(one, metadata=_flag(args, "include_all_metadata")) for one in page]
    return {"messages": wires, "has_more": bool(cursor), "pin_count": 0, **more}


@method("conversations.replies")
def replies(api: Api, args: Json) -> Json:
    channel = joined(api, args, names=False)
    parent = api.workspace.messages[channel.id].get(required(args, "ts", "thread_not_found"))
    if parent is None or parent.only_for:
        raise SlackError("thread_not_found")
    answers, cursor = _page(api, api.workspace.replies(parent), args)
    thread = answers if args.get("cursor") else [parent, *answers]
    more = {"response_metadata": {"next_cursor": cursor}} if cursor else {}
    wires = [
        api.workspace.wire(one, metadata=_flag(args, "include_all_metadata")) for one in thread
    ]
    return {"messages": wires, "has_more": bool(cursor), **more}


def _flag(args: Json, name: str) -> bool:
    return str(args.get(name) or "").lower() in ("true", "1")


def _page(api: Api, found: list[Message], args: Json) -> tuple[list[Message], str]:
    """Between ``oldest`` and ``latest``, from the cursor on, at most ``limit``; and the next cursor."""
    oldest, latest = float(args.get("oldest") or 0), float(args.get("latest") or "inf")
    if api.faults.strikes("history_lag"):
        latest = min(latest, float(api.workspace.next_ts()) - LAG_SECONDS)
    edge = _flag(args, "inclusive")
    within = [
        one
        for one in found
        if oldest < float(one.ts) < latest or (edge and float(one.ts) in (oldest, latest))
    ]
    limit, start = min(int(args.get("limit") or 100), 999), int(args.get("cursor") or 0)
    following = start + limit
    return within[start:following], str(following) if following < len(within) else ""


# ---------------------------------------------------------------- people


@method("users.info")
def user_info(api: Api, args: Json) -> Json:
    person = seed.EVERYONE.get(required(args, "user", "user_not_found"))
    if person is None:
        raise SlackError("user_not_found")
    return {"user": person.wire()}


@method("users.list")
def users_list(api: Api, args: Json) -> Json:
    return {
        "members": [one.wire() for one in seed.EVERYONE.values()],
        "response_metadata": {"next_cursor": ""},
    }
