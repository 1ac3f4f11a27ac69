"""The Web API's modals, Home tabs and files."""

import json
import mimetypes
import secrets
import time
from pathlib import PurePath
from typing import Any

from bot.playground import seed
from bot.playground.checks import check_view
from bot.playground.methods import Api, checked, joined, method, required
from bot.playground.workspace import MODAL_STACK, File, Json, SlackError, with_ids

MAX_FILE = 64 * 1024 * 1024


# ---------------------------------------------------------------- views


def _checked_view(api: Api, view: Any, kind: str | None = None) -> Json:
    if isinstance(view, str):  # slack_sdk sends it as JSON text inside a form
        view = json.loads(view)
    problems = check_view(view, api.workspace.file_usable)
    if kind and isinstance(view, dict) and view.get("type") != kind:
        problems.append(f"must be a {kind} [json-pointer:/view/type]")
    if problems:
        raise SlackError("invalid_arguments", response_metadata={"messages": problems})
    return view


def make_view(api: Api, view: Any, kind: str, *, old: Json | None = None) -> Json:
    """A view as Slack holds it: with an id that stays and a hash that changes.

    Raises
    ------
    SlackError
        ``invalid_arguments``, with what is wrong.
    """
    view = _checked_view(api, view, kind)
    made_id = old["id"] if old else f"V{secrets.token_hex(5).upper()}"
    return {
        "private_metadata": "",
        "callback_id": "",
        "external_id": "",
        "title": None,
        "submit": None,
        "close": None,
        "clear_on_close": False,
        "notify_on_close": False,
        **view,
        "id": made_id,
        "team_id": seed.TEAM_ID,
        "app_id": seed.APP_ID,
        "bot_id": seed.BOT_ID,
        "blocks": with_ids(view["blocks"]),
        "hash": f"{int(time.time())}.{secrets.token_urlsafe(6)}",
        "root_view_id": (old or {}).get("root_view_id", made_id),
        "previous_view_id": (old or {}).get("previous_view_id"),
        "state": (old or {}).get("state", {"values": {}}),
    }


@method("views.open")
def views_open(api: Api, args: Json) -> Json:
    user = api.workspace.exchange(required(args, "trigger_id"))
    view = make_view(api, args.get("view"), "modal")
    api.workspace.modals[user] = [view]
    api.workspace.show_modal(user)
    return {"view": view}


@method("views.push")
def views_push(api: Api, args: Json) -> Json:
    user = api.workspace.exchange(required(args, "trigger_id"))
    return {"view": push(api, user, args.get("view"))}


def push(api: Api, user: str, view: Any) -> Json:
    """Put a modal on top of the open ones."""
    stack = api.workspace.modals.setdefault(user, [])
    if len(stack) >= MODAL_STACK:
        raise SlackError("push_limit_reached")
    made = make_view(api, view, "modal")
    if stack:
        made |= {"root_view_id": stack[0]["id"], "previous_view_id": stack[-1]["id"]}
    stack.append(made)
    api.workspace.show_modal(user)
    return made


@method("views.update")
def views_update(api: Api, args: Json) -> Json:
    wanted, external = args.get("view_id"), args.get("external_id")
    for user, stack in api.workspace.modals.items():
        for place, view in enumerate(stack):
            if view["id"] == wanted or (external and view["external_id"] == external):
                if args.get("hash") and args["hash"] != view["hash"]:
                    raise SlackError("hash_conflict")
                stack[place] = make_view(api, args.get("view"), "modal", old=view)
                api.workspace.show_modal(user)
                return {"view": stack[place]}
    raise SlackError("not_found")


@method("views.publish")
def views_publish(api: Api, args: Json) -> Json:
    user = required(args, "user_id")
    if user not in seed.EVERYONE:
        raise SlackError("invalid_arguments")
    old = api.workspace.homes.get(user)
    if args.get("hash") and old and args["hash"] != old["hash"]:
        raise SlackError("hash_conflict")
    view = make_view(api, args.get("view"), "home", old=old)
    api.workspace.homes[user] = view
    api.workspace.store.put("home", user, view)
    api.workspace.tell({"type": "home", "user": user, "view": view})
    return {"view": view}


# ---------------------------------------------------------------- files


@method("files.getUploadURLExternal")
def upload_url(api: Api, args: Json) -> Json:
    name, length = required(args, "filename"), int(args.get("length") or 0)
    if not 0 < length <= MAX_FILE:
        raise SlackError("file_upload_size_restricted" if length else "invalid_arguments")
    mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
    file = File(
        f"F{secrets.token_hex(5).upper()}",
        PurePath(name).name,
        length,
        created=int(time.time()),
        alt_text=str(args.get("alt_txt") or ""),
        mimetype=mime,
    )
    api.workspace.keep_file(file)
    return {"upload_url": f"{api.base_url()}/upload/{file.id}", "file_id": file.id}


@method("files.completeUploadExternal")
def complete_upload(api: Api, args: Json) -> Json:
    listed = args.get("files")
    if not isinstance(listed, list) or not listed:
        raise SlackError("invalid_arguments")
    channel = (
        joined(api, {"channel": args["channel_id"]}, names=False)
        if args.get("channel_id")
        else None
    )
    files = []
    for one in listed:
        file = api.workspace.files.get(str(one.get("id")))
        if file is None or file.state == "awaiting":
            raise SlackError("file_not_found")
        file.title = str(one.get("title") or file.name)
        files.append(file)
    blocks = checked(api, args.get("blocks"))
    for file in files:
        file.state = "complete"
        api.workspace.keep_file(file)
    if channel:
        message = api.workspace.post(
            channel.id,
            seed.BOT_USER,
            str(args.get("initial_comment") or ""),
            blocks,
            thread_ts=args.get("thread_ts"),
            files=[file.id for file in files],
        )
        for file in files:
            file.shares.setdefault(channel.id, []).append(message.ts)
            api.workspace.keep_file(file)
    return {"files": [api.workspace.file_wire(file) for file in files]}


@method("files.info")
def file_info(api: Api, args: Json) -> Json:
    file = api.workspace.files.get(required(args, "file", "file_not_found"))
    if file is None or file.state == "awaiting":
        raise SlackError("file_not_found")
    return {"file": api.workspace.file_wire(file), "comments": []}


@method("files.delete")
def file_delete(api: Api, args: Json) -> Json:
    file_id = required(args, "file", "file_not_found")
    if api.workspace.files.pop(file_id, None) is None:
        raise SlackError("file_not_found")
    api.workspace.store.drop("file", file_id)
    return {}
