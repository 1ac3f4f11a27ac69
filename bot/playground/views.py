"""Check and store modals and Home tabs as Slack does."""

import json
import secrets
import time
from typing import Any

from bot.playground import seed
from bot.playground.checks import check_view
from bot.playground.workspace import MODAL_STACK, Json, SlackError, Workspace, with_ids


def make_view(workspace: Workspace, view: Any, kind: str, *, old: Json | None = None) -> Json:
    """Return a view as Slack stores it.

    The id is constant and the hash is new.

    `kind`: ``modal`` or ``home``.
    Raises `SlackError`: ``invalid_arguments``, with the errors.
    """
    view = _checked_view(workspace, view, kind)
    view_id = old["id"] if old else f"V{secrets.token_hex(5).upper()}"
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
        "id": view_id,
        "team_id": seed.TEAM_ID,
        "app_id": seed.APP_ID,
        "bot_id": seed.BOT_ID,
        "blocks": with_ids(view["blocks"]),
        "hash": f"{int(time.time())}.{secrets.token_urlsafe(6)}",
        "root_view_id": (old or {}).get("root_view_id", view_id),
        "previous_view_id": (old or {}).get("previous_view_id"),
        "state": (old or {}).get("state", {"values": {}}),
    }


def push(workspace: Workspace, user: str, view: Any) -> Json:
    """Put a modal on top of the open ones.

    Raises `SlackError`: ``push_limit_reached``, or ``invalid_arguments`` with the errors.
    """
    stack = workspace.modals.setdefault(user, [])
    if len(stack) >= MODAL_STACK:
        raise SlackError("push_limit_reached")
    new = make_view(workspace, view, "modal")
    if stack:
        new |= {"root_view_id": stack[0]["id"], "previous_view_id": stack[-1]["id"]}
    stack.append(new)
    workspace.show_modal(user)
    return new


def _checked_view(workspace: Workspace, view: Any, kind: str | None = None) -> Json:
    if isinstance(view, str):  # slack_sdk sends it as JSON text inside a form
        view = json.loads(view)
    problems = check_view(view, workspace.file_usable)
    if kind and isinstance(view, dict) and view.get("type") != kind:
        problems.append(f"must be a {kind} [json-pointer:/view/type]")
    if problems:
        raise SlackError("invalid_arguments", response_metadata={"messages": problems})
    return view
