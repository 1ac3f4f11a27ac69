"""Call Slack's Web API and classify failures.

The client never retries and keeps Slack's pauses. slack_sdk's retry handler posts twice if a server
accepts a post and then drops the connection. Here the outbox retries, after looking for the post.
"""

import http.client
import re
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from enum import Enum
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from retention.db import Database
from retention.text import gettext
from workers import action_ids
from workers.installation import Client

TIMEOUT = 10  # seconds
DEFAULT_PAUSE = 30.0  # seconds, for an unreadable Retry-After

_TRANSIENT = {
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
}
_INSTALLATION = {
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "missing_scope",
    "no_permission",
    "ekm_access_denied",
    "org_login_required",
}
_CHANNEL_DENIED = {
    "not_in_channel",
    "channel_not_found",
    "is_archived",
    "restricted_action",
    "user_not_in_channel",
}
_ERROR_CODE = re.compile("[a-z0-9_]{1,60}")
_MESSAGE_MISSING = {
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "msg_not_found",
}


class FailureKind(Enum):
    """Effect of a failed call on its message."""

    RATE_LIMITED = "not accepted: wait as long as Slack says"
    AMBIGUOUS = "may have been accepted"
    UNREACHABLE = "Slack never heard of it"
    INSTALLATION = "not accepted: the app's token or scopes are wrong, whatever the message"
    CHANNEL_DENIED = "not accepted: the bot may not post in this channel"
    MESSAGE_MISSING = "the message to update is no longer there"
    REFUSED = "not accepted, and never will be"


class ContentDropped(Exception):
    """A sensitive file's content was deleted. It waited too long, or names an erased customer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call.

    `retry_after`: seconds to wait.
    """

    kind: FailureKind
    code: str
    retry_after: float = 0.0


class RateLimitPause(Exception):
    """Slack has paused this method."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"paused for {seconds:.1f} s")
        self.seconds = seconds


def is_channel(slack_id: str) -> bool:
    """Return whether an id is a channel's. Ids of persons and of direct messages are not."""
    return re.fullmatch(r"[CG][A-Z0-9]+", slack_id) is not None


class RateLimitedClient(Client):
    """Client that keeps the Retry-After of each method.

    A call during the pause would be refused, and counts. Slack limits each method, and
    ``chat.postMessage`` in each channel.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._until: dict[tuple[str, str], float] = {}

    def api_call(self, api_method: str, **options: Any) -> Any:
        posts = api_method == "chat.postMessage"
        limited = (api_method, options["json"]["channel"] if posts else "")
        if (seconds := self._until.get(limited, 0.0) - time.monotonic()) > 0:
            raise RateLimitPause(seconds)
        try:
            return super().api_call(api_method, **options)
        except SlackApiError as error:
            if (failure := classify(error)).kind is FailureKind.RATE_LIMITED:
                self._until[limited] = time.monotonic() + failure.retry_after
            raise


def client(database: Database) -> WebClient:
    return RateLimitedClient(database, TIMEOUT)


def classify(error: Exception) -> Failure:
    """Classify the failure of a call. Other errors are raised again."""
    if isinstance(error, RateLimitPause):
        return Failure(FailureKind.RATE_LIMITED, "ratelimited", error.seconds)
    if isinstance(error, SlackApiError):
        return _classify_answer(error.response)
    if isinstance(error, ContentDropped):
        return Failure(
            FailureKind.REFUSED,
            gettext(
                "its bytes were dropped: it waited too long, or a customer in it was erased; ask "
                "for it again"
            ),
        )
    if isinstance(error, urllib.error.HTTPError):
        kind = FailureKind.AMBIGUOUS if error.code >= 500 else FailureKind.REFUSED
        return Failure(kind, f"http_{error.code}")
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ConnectionRefusedError | socket.gaierror):
        return Failure(FailureKind.UNREACHABLE, type(cause).__name__)
    if isinstance(cause, OSError | http.client.HTTPException | UnicodeDecodeError):
        return Failure(FailureKind.AMBIGUOUS, type(cause).__name__)
    raise error


def _classify_answer(response: Any) -> Failure:
    status = int(getattr(response, "status_code", 200) or 200)
    data = response.data if hasattr(response, "data") else response
    code = str(data.get("error", "")) if isinstance(data, dict) else ""
    if status == 429 or code in ("ratelimited", "rate_limited"):
        given = getattr(response, "headers", None) or {}
        headers = {str(key).lower(): value for key, value in given.items()}
        seconds = _seconds(headers.get("retry-after") or "1")
        return Failure(FailureKind.RATE_LIMITED, "ratelimited", seconds)
    # A proxy's page or half an answer, because Slack sends an error code.
    if not _ERROR_CODE.fullmatch(code):
        if status == 413:  # too large for ever, and later messages would wait
            return Failure(FailureKind.REFUSED, "http_413")
        is_proxys = 400 <= status < 500
        kind = FailureKind.UNREACHABLE if is_proxys else FailureKind.AMBIGUOUS
        return Failure(kind, f"http_{status}")
    if status >= 500 or code in _TRANSIENT:
        return Failure(FailureKind.AMBIGUOUS, code)
    for kind, codes in (
        (FailureKind.INSTALLATION, _INSTALLATION),
        (FailureKind.CHANNEL_DENIED, _CHANNEL_DENIED),
        (FailureKind.MESSAGE_MISSING, _MESSAGE_MISSING),
    ):
        if code in codes:
            return Failure(kind, code)
    return Failure(FailureKind.REFUSED, code)


def _seconds(retry_after: str) -> float:
    """Convert a Retry-After to seconds, at most a day. A proxy may send a date."""
    is_number = re.fullmatch("[0-9]{1,9}", retry_after)
    return min(float(retry_after), 86_400.0) if is_number else DEFAULT_PAUSE


def find_post(
    web: WebClient, channel: str, key: str, *, oldest: float, thread_ts: str | None
) -> str | None:
    """Find our message by its metadata. Replies are only found in their thread."""
    cursor: str | None = None
    while True:
        options: dict[str, Any] = {
            "channel": channel,
            "oldest": f"{oldest:.6f}",
            "include_all_metadata": True,
            "limit": 15,
            "cursor": cursor,
        }
        if thread_ts:
            page = web.conversations_replies(ts=thread_ts, **options)
        else:
            page = web.conversations_history(**options)
        for message in page.get("messages") or []:
            metadata = message.get("metadata") or {}
            is_ours = metadata.get("event_type") == action_ids.POST_EVENT
            if is_ours and metadata.get("event_payload", {}).get("key") == key:
                return str(message["ts"])
        cursor = (page.get("response_metadata") or {}).get("next_cursor") or None
        if cursor is None:
            return None


def upload(web: WebClient, name: str, content: bytes, alt_text: str = "") -> str:
    """Upload a file, which stays invisible until completion."""
    place = web.files_getUploadURLExternal(
        filename=name, length=len(content), alt_txt=alt_text or None
    )
    request = urllib.request.Request(  # noqa: S310 - Slack's own answer names the URL
        place["upload_url"],
        data=content,
        headers={"Content-Type": "application/octet-stream"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        answer.read()
    return str(place["file_id"])


def shared_ts(web: WebClient, file_id: str, channel: str) -> str | None:
    """Return the ``ts`` of a file's message.

    Returns: none if the file is not shared there, or is unknown.
    """
    try:
        shares = web.files_info(file=file_id)["file"].get("shares") or {}
    except SlackApiError as error:
        if error.response.get("error") == "file_not_found":
            return None
        raise
    for place in shares.values():
        for share in place.get(channel) or []:
            return str(share["ts"])
    return None
