"""Validate the form of Slack's signed requests.

Slack sends slash commands as form fields, interactions as JSON in the form field ``payload``,
and events as a JSON body (https://docs.slack.dev/interactivity/handling-user-interaction/,
https://docs.slack.dev/apis/events-api/). Only the fields that the code reads are checked.
Unknown fields are allowed, because Slack adds some from time to time.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from slack_bolt.request.internals import extract_content_type, parse_body

MAX_DEPTH = 60  # of nested lists and objects; Slack's own payloads stay below 20

Id = Annotated[str, StringConstraints(min_length=1, max_length=255)]
OptionalId = Annotated[str, StringConstraints(max_length=255)] | None


class Malformed(Exception):
    """The body is not a request that Slack sends."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class _User(_Part):
    id: Id
    team_id: OptionalId = None


class _Team(_Part):
    id: OptionalId = None
    enterprise_id: OptionalId = None


class _ChannelRef(_Part):
    id: Id


class _Container(_Part):
    channel_id: OptionalId = None
    message_ts: OptionalId = None


class _Option(_Part):
    value: str | None = None


class _Input(_Part):
    value: str | None = None
    selected_option: _Option | None = None


Values = dict[str, dict[str, _Input]]  # of ``view.state``: block id → action id → input


class _State(_Part):
    values: Values = {}


class _Text(_Part):
    text: str


class _Block(_Part):
    type: str
    block_id: OptionalId = None
    label: _Text | None = None


class _View(_Part):
    id: OptionalId = None
    type: str | None = None
    team_id: OptionalId = None
    app_installed_team_id: OptionalId = None
    callback_id: str | None = None
    private_metadata: str | None = None
    hash: str | None = None
    blocks: list[_Block] = []
    state: _State | None = None


class _SubmittedView(_View):
    id: Id
    callback_id: str
    private_metadata: str = ""


class _Action(_Part):
    action_id: Id
    type: str
    block_id: OptionalId = None
    value: str | None = None
    action_ts: OptionalId = None
    selected_option: _Option | None = None


class _SlashCommand(_Part):
    command: Id
    user_id: Id
    team_id: Id
    enterprise_id: OptionalId = None
    channel_id: OptionalId = None
    trigger_id: str | None = None
    text: str | None = None


class _ResponseUrl(_Part):
    response_url: str | None = None


class _Interaction(_Part):
    type: Id
    user: _User
    team: _Team | None = None
    enterprise: _Team | None = None
    channel: _ChannelRef | None = None
    container: _Container | None = None
    view: _View | None = None
    state: _State | None = None
    message: dict[str, Any] | None = None
    trigger_id: str | None = None
    response_url: str | None = None
    response_urls: list[_ResponseUrl] = []
    callback_id: str | None = None


class _BlockActions(_Interaction):
    actions: Annotated[list[_Action], Field(min_length=1)]


class _ViewEvent(_Interaction):
    view: _SubmittedView


class _BlockSuggestion(_Interaction):
    action_id: Id
    block_id: Id
    value: str


class _Authorization(_Part):
    team_id: OptionalId = None
    enterprise_id: OptionalId = None
    user_id: OptionalId = None
    is_enterprise_install: bool | None = None


class _SlackEvent(_Part):
    type: Id
    subtype: str | None = None
    user: Id | _User | None = None
    channel: Id | _ChannelRef | None = None
    team: OptionalId = None
    user_team: OptionalId = None
    source_team: OptionalId = None
    tab: str | None = None
    text: str | None = None
    bot_id: OptionalId = None
    thread_ts: OptionalId = None
    ts: OptionalId = None
    channel_type: OptionalId = None
    app_id: OptionalId = None


class _AppHomeOpened(_SlackEvent):
    user: Id


class _EventCallback(_Part):
    type: Id
    event: _SlackEvent
    team_id: OptionalId = None
    enterprise_id: OptionalId = None
    event_id: OptionalId = None
    authorizations: list[_Authorization] | None = None
    is_ext_shared_channel: bool | None = None


class _HomeCallback(_EventCallback):
    event: _AppHomeOpened


class _UrlVerification(_Part):
    challenge: str


class _RateLimited(_Part):
    team_id: OptionalId = None


_FORMS: dict[str, type[_Part]] = {
    "block_actions": _BlockActions,
    "view_submission": _ViewEvent,
    "view_closed": _ViewEvent,
    "block_suggestion": _BlockSuggestion,
    "shortcut": _Interaction,
    "message_action": _Interaction,
    "event_callback": _EventCallback,
    "url_verification": _UrlVerification,
    "app_rate_limited": _RateLimited,
}


def validated(text: str, content_type: str) -> dict[str, Any]:
    """Parse a signed request's body and check its form.

    Raises `Malformed`: the body is not JSON, is nested too deeply, has an unknown type, or has a
    missing or mistyped field. The message names the field, never a value.
    """
    try:
        body = parse_body(text, extract_content_type({"content-type": [content_type]}))
    except (ValueError, RecursionError):
        raise Malformed("the body is not valid JSON") from None
    if not isinstance(body, dict):
        raise Malformed("the body is not an object")
    if _is_deeper(body, MAX_DEPTH):
        raise Malformed(f"the body is nested more than {MAX_DEPTH} levels deep")
    form = _form_of(body)
    if form is not None:
        try:
            form.model_validate(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise Malformed(f"{'.'.join(map(str, first['loc']))}: {first['type']}") from None
    return body


def _form_of(body: dict[str, Any]) -> type[_Part] | None:
    """Return the model of this request. None for Slack's certificate check."""
    kind = body.get("type")
    if "command" in body:
        return _SlashCommand
    event = body.get("event")
    if (
        kind == "event_callback"
        and isinstance(event, dict)
        and event.get("type") == "app_home_opened"
    ):
        return _HomeCallback
    if isinstance(kind, str) and kind in _FORMS:
        return _FORMS[kind]
    if body.get("ssl_check") == "1":
        return None
    raise Malformed("type: unknown")


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


TIMESTAMP_HEADER = "x-slack-request-timestamp"
SIGNATURE_HEADER = "x-slack-signature"
MAX_AGE_SECONDS = 300  # Slack's recommendation against replays

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}", re.ASCII)


def has_valid_form(headers: Mapping[str, str], now: float) -> bool:
    """Check signature headers and age of a request.

    `now`: real time in seconds since 1970.
    """
    timestamp = headers.get(TIMESTAMP_HEADER, "")
    if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(
        headers.get(SIGNATURE_HEADER, "")
    ):
        return False
    return abs(now - int(timestamp)) <= MAX_AGE_SECONDS


def is_verified(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Check Slack's signature of a recent request.

    Its age is at most five minutes.

    `secret`: the app's signing secret. An empty one verifies nothing.
    `now`: real time in seconds since 1970.
    """
    if not secret or not has_valid_form(headers, now):
        return False
    signed = b"v0:" + headers[TIMESTAMP_HEADER].encode() + b":" + body
    expected = "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, headers[SIGNATURE_HEADER])
