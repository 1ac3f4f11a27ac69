"""Implement Slack's Web API methods."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.playground import seed
from bot.playground.checks import check_blocks, too_long
from bot.playground.rate_limits import Faults, RateLimiter
from bot.playground.views import make_view, push
from bot.playground.workspace import File, Json, Message, SlackError, Workspace

LAG_SECONDS = 600.0
MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The workspace, limits and faults of a method."""

    workspace: Workspace
    rate_limiter: RateLimiter
    faults: Faults


Method = Callable[[ApiContext, Json], Json]
METHODS: dict[str, Method] = {}


def method(name: str) -> Callable[[Method], Method]:
    """Return a decorator that registers a Web API method."""

    def register(function: Method) -> Method:
        METHODS[name] = function
        return function

    return register


def required(args: Json, name: str, error: str = "invalid_arguments") -> str:
    """Return a required argument."""
    if not args.get(name):
        raise SlackError(
            error, response_metadata={"messages": [f"[ERROR] missing required field: {name}"]}
        )
    return str(args[name])


def checked(api: ApiContext, blocks: Any, surface: str = "message") -> list[Json]:
    """Return the blocks if Slack would accept them.

    `surface`: ``message``, ``modal`` or ``home``.
    """
    if not blocks:
        return []
    if problems := check_blocks(blocks, surface, api.workspace.file_usable):
        raise SlackError(
            "invalid_blocks", response_metadata={"messages": problems}, errors=problems
        )
    if surface == "message" and too_long(blocks):
        raise SlackError("msg_blocks_too_long")
    return blocks


def joined_channel(api: ApiContext, args: Json, *, names: bool = True) -> seed.Channel:
    """Return a conversation of the bot."""
    name = required(args, "channel", "channel_not_found")
    if not names and name not in api.workspace.channels:
        raise SlackError("channel_not_found")
    channel = visible_channel(api, name)
    if not channel.has_bot:
        raise SlackError("not_in_channel")
    return channel


def visible_channel(api: ApiContext, name: str) -> seed.Channel:
    """Return a conversation that the bot may see. A private one needs membership."""
    channel = api.workspace.channel(name)
    if channel.private and not channel.has_bot:
        raise SlackError("channel_not_found")
    return channel


# ---------------------------------------------------------------- the app itself


@method("api.test")
def api_test(api: ApiContext, args: Json) -> Json:
    return {"args": args}


@method("auth.test")
def auth_test(api: ApiContext, args: Json) -> Json:
    return {
        "url": f"{api.workspace.base_url}/",
        "team": seed.TEAM_NAME,
        "user": seed.BOT.handle,
        "team_id": seed.TEAM_ID,
        "user_id": seed.BOT_USER,
        "bot_id": seed.BOT_ID,
        "is_enterprise_install": False,
    }


@method("team.info")
def team_info(api: ApiContext, args: Json) -> Json:
    return {"team": {"id": seed.TEAM_ID, "name": seed.TEAM_NAME, "domain": seed.TEAM_DOMAIN}}


@method("apps.connections.open")
def connections_open(api: ApiContext, args: Json) -> Json:
    ticket = secrets.token_urlsafe(16)
    api.workspace.tickets.add(ticket)
    return {"url": f"{api.workspace.base_url.replace('http://', 'ws://')}/link?ticket={ticket}"}


# ---------------------------------------------------------------- messages


def _content(api: ApiContext, args: Json) -> tuple[str, list[Json]]:
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


def _thread(api: ApiContext, args: Json, channel: str) -> str | None:
    thread_ts = args.get("thread_ts")
    if not thread_ts:
        return None
    parent = api.workspace.messages[channel].get(str(thread_ts))
    if parent is None or parent.only_for:
        raise SlackError("thread_not_found")
    return parent.thread_ts or parent.ts


@method("chat.postMessage")
def post_message(api: ApiContext, args: Json) -> Json:
    channel = joined_channel(api, args)
    text, blocks = _content(api, args)
    thread_ts, metadata = _thread(api, args, channel.id), _metadata(args)
    if wait := api.rate_limiter.post(channel.id):
        raise SlackError("ratelimited", retry_after=wait)
    more: Json = {"thread_ts": thread_ts, "metadata": metadata}
    more["broadcast"] = bool(thread_ts and args.get("reply_broadcast"))
    message = api.workspace.post(channel.id, seed.BOT_USER, text, blocks, **more)
    wire = api.workspace.wire(message, metadata=True)
    return {"channel": channel.id, "ts": message.ts, "message": wire}


@method("chat.postEphemeral")
def post_ephemeral(api: ApiContext, args: Json) -> Json:
    channel, user = joined_channel(api, args), required(args, "user")
    if user not in channel.members:
        raise SlackError("user_not_in_channel")
    text, blocks = _content(api, args)
    thread_ts = _thread(api, args, channel.id)
    message = api.workspace.post(
        channel.id, seed.BOT_USER, text, blocks, only_for=user, thread_ts=thread_ts
    )
    return {"message_ts": message.ts}


def _own(api: ApiContext, args: Json, error: str) -> Message:
    channel = joined_channel(api, args, names=False)
    message = api.workspace.messages[channel.id].get(required(args, "ts", "message_not_found"))
    if message is None or message.only_for:
        raise SlackError("message_not_found")
    if message.user != seed.BOT_USER:
        raise SlackError(error)
    return message


@method("chat.update")
def update(api: ApiContext, args: Json) -> Json:
    message = _own(api, args, "cant_update_message")
    text, blocks = _content(api, args)
    if (metadata := _metadata(args)) is not None:
        message.metadata = metadata
    api.workspace.revise(message, text, blocks, edited_by=seed.BOT_USER)
    wire = api.workspace.wire(message, metadata=True)
    return {"channel": message.channel, "ts": message.ts, "text": text, "message": wire}


@method("chat.delete")
def delete(api: ApiContext, args: Json) -> Json:
    message = _own(api, args, "cant_delete_message")
    api.workspace.remove(message)
    return {"channel": message.channel, "ts": message.ts}


@method("chat.getPermalink")
def permalink(api: ApiContext, args: Json) -> Json:
    channel = joined_channel(api, args)
    ts = required(args, "message_ts", "message_not_found")
    if ts not in api.workspace.messages[channel.id]:
        raise SlackError("message_not_found")
    link = f"{api.workspace.base_url}/archives/{channel.id}/p{ts.replace('.', '')}"
    return {"channel": channel.id, "permalink": link}


# ---------------------------------------------------------------- conversations


@method("conversations.info")
def info(api: ApiContext, args: Json) -> Json:
    return {"channel": visible_channel(api, required(args, "channel", "channel_not_found")).wire()}


def _kind(channel: seed.Channel) -> str:
    if channel.im_of:
        return "im"
    return "private_channel" if channel.private else "public_channel"


@method("conversations.list")
def list_conversations(api: ApiContext, args: Json) -> Json:
    kinds = str(args.get("types") or "public_channel").split(",")
    channels = [
        channel.wire()
        for channel in api.workspace.channels.values()
        if (channel.has_bot or not channel.private) and _kind(channel) in kinds
    ]
    return {"channels": channels, "response_metadata": {"next_cursor": ""}}


@method("users.conversations")
def own_conversations(api: ApiContext, args: Json) -> Json:
    listed = list_conversations(api, args)
    own = [channel for channel in listed["channels"] if channel["is_im"] or channel["is_member"]]
    return {**listed, "channels": own}


@method("conversations.members")
def members(api: ApiContext, args: Json) -> Json:
    channel = visible_channel(api, required(args, "channel", "channel_not_found"))
    return {"members": list(channel.members), "response_metadata": {"next_cursor": ""}}


@method("conversations.join")
def join(api: ApiContext, args: Json) -> Json:
    channel = visible_channel(api, required(args, "channel", "channel_not_found"))
    if channel.private or channel.im_of:
        raise SlackError("method_not_supported_for_channel_type")
    api.workspace.join(channel, seed.BOT_USER)
    return {"channel": channel.wire()}


@method("conversations.open")
def open_conversation(api: ApiContext, args: Json) -> Json:
    name = str(args.get("channel") or args.get("users") or "")
    person = seed.EVERYONE.get(name)
    if person is None and name not in api.workspace.channels:
        raise SlackError("user_not_found" if args.get("users") else "channel_not_found")
    if person is not None and person.is_bot:
        raise SlackError("cannot_dm_bot")
    channel = api.workspace.channel(name)
    return {"channel": channel.wire(), "no_op": True, "already_open": True}


@method("conversations.history")
def history(api: ApiContext, args: Json) -> Json:
    channel = joined_channel(api, args, names=False)
    messages = [
        message
        for message in api.workspace.messages[channel.id].values()
        if not message.only_for and (not message.is_reply or message.broadcast)
    ]
    page, cursor = _page(api, messages[::-1], args)
    return {**_listing(api, page, cursor, args), "pin_count": 0}


@method("conversations.replies")
def replies(api: ApiContext, args: Json) -> Json:
    channel = joined_channel(api, args, names=False)
    parent = api.workspace.messages[channel.id].get(required(args, "ts", "thread_not_found"))
    if parent is None or parent.only_for:
        raise SlackError("thread_not_found")
    answers, cursor = _page(api, api.workspace.replies(parent), args)
    thread = answers if args.get("cursor") else [parent, *answers]
    return _listing(api, thread, cursor, args)


def _listing(api: ApiContext, messages: list[Message], cursor: str, args: Json) -> Json:
    with_metadata = _flag(args, "include_all_metadata")
    wires = [api.workspace.wire(message, metadata=with_metadata) for message in messages]
    more = {"response_metadata": {"next_cursor": cursor}} if cursor else {}
    return {"messages": wires, "has_more": bool(cursor), **more}


def _flag(args: Json, name: str) -> bool:
    return str(args.get(name) or "").lower() in ("true", "1")


def _page(api: ApiContext, messages: list[Message], args: Json) -> tuple[list[Message], str]:
    """Return one page and the next cursor."""
    oldest, latest = float(args.get("oldest") or 0), float(args.get("latest") or "inf")
    if api.faults.strikes("history_lag"):
        latest = min(latest, float(api.workspace.next_ts()) - LAG_SECONDS)
    is_inclusive = _flag(args, "inclusive")
    selected = [
        message
        for message in messages
        if oldest < float(message.ts) < latest
        or (is_inclusive and float(message.ts) in (oldest, latest))
    ]
    limit, start = min(int(args.get("limit") or 100), 999), int(args.get("cursor") or 0)
    end = start + limit
    return selected[start:end], str(end) if end < len(selected) else ""


# ---------------------------------------------------------------- people


@method("users.info")
def user_info(api: ApiContext, args: Json) -> Json:
    person = seed.EVERYONE.get(required(args, "user", "user_not_found"))
    if person is None:
        raise SlackError("user_not_found")
    return {"user": person.wire()}


@method("users.list")
def users_list(api: ApiContext, args: Json) -> Json:
    everyone = [person.wire() for person in seed.EVERYONE.values()]
    return {"members": everyone, "response_metadata": {"next_cursor": ""}}


@method("usergroups.list")
def user_groups(api: ApiContext, args: Json) -> Json:
    groups = [
        {"id": group_id, "handle": handle, "name": handle, "user_count": len(members)}
        for group_id, (handle, members) in seed.GROUPS.items()
    ]
    return {"usergroups": groups}


@method("usergroups.users.list")
def user_group_members(api: ApiContext, args: Json) -> Json:
    group = seed.GROUPS.get(required(args, "usergroup", "no_such_subteam"))
    if group is None:
        raise SlackError("no_such_subteam")
    return {"users": list(group[1])}


# ---------------------------------------------------------------- views


@method("views.open")
def views_open(api: ApiContext, args: Json) -> Json:
    user = api.workspace.exchange(required(args, "trigger_id"))
    view = make_view(api.workspace, args.get("view"), "modal")
    api.workspace.modals[user] = [view]
    api.workspace.show_modal(user)
    return {"view": view}


@method("views.push")
def views_push(api: ApiContext, args: Json) -> Json:
    user = api.workspace.exchange(required(args, "trigger_id"))
    return {"view": push(api.workspace, user, args.get("view"))}


@method("views.update")
def views_update(api: ApiContext, args: Json) -> Json:
    view_id, external = args.get("view_id"), args.get("external_id")
    for user, stack in api.workspace.modals.items():
        for place, view in enumerate(stack):
            if view["id"] == view_id or (external and view["external_id"] == external):
                if args.get("hash") and args["hash"] != view["hash"]:
                    raise SlackError("hash_conflict")
                stack[place] = make_view(api.workspace, args.get("view"), "modal", old=view)
                api.workspace.show_modal(user)
                return {"view": stack[place]}
    raise SlackError("not_found")


@method("views.publish")
def views_publish(api: ApiContext, args: Json) -> Json:
    user = required(args, "user_id")
    if user not in seed.EVERYONE:
        raise SlackError("invalid_arguments")
    old = api.workspace.homes.get(user)
    if args.get("hash") and old and args["hash"] != old["hash"]:
        raise SlackError("hash_conflict")
    view = make_view(api.workspace, args.get("view"), "home", old=old)
    api.workspace.homes[user] = view
    api.workspace.store.put("home", user, view)
    api.workspace.notify({"type": "home", "user": user, "view": view})
    return {"view": view}


# ---------------------------------------------------------------- files


@method("files.getUploadURLExternal")
def upload_url(api: ApiContext, args: Json) -> Json:
    name, length = required(args, "filename"), int(args.get("length") or 0)
    if not 0 < length <= MAX_FILE_BYTES:
        raise SlackError("file_upload_size_restricted" if length else "invalid_arguments")
    file = File.new(name, length, alt_text=str(args.get("alt_txt") or ""))
    api.workspace.keep_file(file)
    return {"upload_url": f"{api.workspace.base_url}/upload/{file.id}", "file_id": file.id}


@method("files.completeUploadExternal")
def complete_upload(api: ApiContext, args: Json) -> Json:
    listed = args.get("files")
    if not isinstance(listed, list) or not listed:
        raise SlackError("invalid_arguments")
    to = {"channel": args.get("channel_id")}
    channel = joined_channel(api, to, names=False) if to["channel"] else None
    files = []
    for entry in listed:
        file = api.workspace.files.get(str(entry.get("id")))
        if file is None or file.state == "awaiting":
            raise SlackError("file_not_found")
        file.title = str(entry.get("title") or file.name)
        files.append(file)
    blocks = checked(api, args.get("blocks"))
    for file in files:
        file.state = "complete"
        api.workspace.keep_file(file)
    if channel:
        comment = str(args.get("initial_comment") or "")
        more = {"thread_ts": args.get("thread_ts"), "files": [file.id for file in files]}
        message = api.workspace.post(channel.id, seed.BOT_USER, comment, blocks, **more)
        for file in files:
            file.shares.setdefault(channel.id, []).append(message.ts)
            api.workspace.keep_file(file)
    return {"files": [api.workspace.file_wire(file) for file in files]}


@method("files.info")
def file_info(api: ApiContext, args: Json) -> Json:
    file = api.workspace.files.get(required(args, "file", "file_not_found"))
    if file is None or file.state == "awaiting":
        raise SlackError("file_not_found")
    return {"file": api.workspace.file_wire(file), "comments": []}


@method("files.delete")
def file_delete(api: ApiContext, args: Json) -> Json:
    file_id = required(args, "file", "file_not_found")
    if api.workspace.files.pop(file_id, None) is None:
        raise SlackError("file_not_found")
    api.workspace.store.drop("file", file_id)
    return {}
